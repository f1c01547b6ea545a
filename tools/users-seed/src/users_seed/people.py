"""Names and mail domains by country, the material of the records."""
# ruff: noqa: RUF001 (Turkish has an i without a dot)

from __future__ import annotations

from typing import NamedTuple


class Country(NamedTuple):
    """Names and mail domains of a country as lists separated by commas."""

    first_names: str
    last_names: str
    mail_domains: str
    company_suffixes: str


COUNTRIES = (
    Country(  # United States
        "James, Mary, Robert, Patricia, John, Jennifer, Michael, Linda, David, Elizabeth, William, Barbara, Richard,"
        " Susan, Joseph, Jessica, Thomas, Karen, Christopher, Sarah, Charles, Nancy, Daniel, Lisa, Ashley, Brandon",
        "Smith, Johnson, Williams, Brown, Jones, Garcia, Miller, Davis, Rodriguez, Martinez, Hernandez, Lopez, Wilson,"
        " Anderson, Taylor, Moore, Jackson, Lee, Perez, Thompson, White, Harris, Clark, Ramirez, Lewis, O'Neill",
        "gmail.com, yahoo.com, outlook.com, icloud.com, aol.com, comcast.net, hotmail.com",
        "com, com, net, org, us",
    ),
    Country(  # United Kingdom
        "Oliver, Amelia, George, Olivia, Harry, Isla, Jack, Emily, Charlie, Ava, Thomas, Lily, Oscar, Mia, William,"
        " Sophie, Alfie, Grace, Henry, Freya, Archie, Poppy, Callum, Niamh, Rhys, Siân",
        "Smith, Jones, Taylor, Brown, Williams, Wilson, Johnson, Davies, Patel, Robinson, Wright, Thompson, Evans,"
        " Walker, White, Roberts, Green, Hall, Wood, Jackson, Clarke, Khan, MacDonald, O'Brien, Hughes, Begum",
        "gmail.com, hotmail.co.uk, yahoo.co.uk, btinternet.com, sky.com, live.co.uk, outlook.com",
        "co.uk, co.uk, com, org.uk, uk",
    ),
    Country(  # Germany
        "Hans, Anna, Lukas, Lena, Jürgen, Sabine, Stefan, Julia, Thomas, Claudia, Andreas, Petra, Michael, Katharina,"
        " Jörg, Heike, Maximilian, Sophie, Felix, Laura, Matthias, Birgit, Jonas, Hannah, Günter, Käthe",
        "Müller, Schmidt, Schneider, Fischer, Weber, Meyer, Wagner, Becker, Schulz, Hoffmann, Schäfer, Koch, Bauer,"
        " Richter, Klein, Wolf, Schröder, Neumann, Schwarz, Zimmermann, Braun, Krüger, Hofmann, Lange, Groß, Yılmaz",
        "gmx.de, web.de, t-online.de, gmail.com, freenet.de, outlook.de, posteo.de",
        "de, de, com, eu",
    ),
    Country(  # France
        "Jean, Marie, Pierre, Nathalie, Michel, Isabelle, Philippe, Sylvie, Nicolas, Catherine, Julien, Camille,"
        " François, Hélène, Antoine, Chloé, Léo, Manon, Hugo, Inès, Jérôme, Zoé, Mathieu, Aurélie, Étienne, Anaïs",
        "Martin, Bernard, Dubois, Thomas, Robert, Richard, Petit, Durand, Leroy, Moreau, Simon, Laurent, Lefebvre,"
        " Michel, Garcia, David, Bertrand, Roux, Vincent, Fournier, Morel, Girard, André, Lefèvre, Mercier, Benali",
        "orange.fr, gmail.com, free.fr, laposte.net, sfr.fr, hotmail.fr, wanadoo.fr",
        "fr, fr, com, eu",
    ),
    Country(  # Spain
        "Antonio, María, José, Carmen, Manuel, Ana, Francisco, Isabel, David, Laura, Juan, Cristina, Javier, Marta,"
        " Daniel, Lucía, Carlos, Paula, Alejandro, Elena, Jesús, Raquel, Miguel, Pilar, Íñigo, Begoña",
        "García, Rodríguez, González, Fernández, López, Martínez, Sánchez, Pérez, Gómez, Martín, Jiménez, Ruiz,"
        " Hernández, Díaz, Moreno, Muñoz, Álvarez, Romero, Alonso, Gutiérrez, Navarro, Torres, Ramos, Gil, Ibáñez",
        "gmail.com, hotmail.es, yahoo.es, telefonica.net, outlook.es, ono.com",
        "es, es, com, cat",
    ),
    Country(  # Italy
        "Giuseppe, Maria, Giovanni, Anna, Antonio, Giulia, Mario, Francesca, Luigi, Chiara, Francesco, Sara, Angelo,"
        " Elena, Vincenzo, Martina, Pietro, Alessia, Marco, Federica, Luca, Silvia, Niccolò, Noemi, Matteo, Paola",
        "Rossi, Russo, Ferrari, Esposito, Bianchi, Romano, Colombo, Ricci, Marino, Greco, Bruno, Gallo, Conti,"
        " De Luca, Mancini, Costa, Giordano, Rizzo, Lombardi, Moretti, Barbieri, Fontana, D'Angelo, Santoro, Nicolò",
        "libero.it, gmail.com, virgilio.it, tiscali.it, alice.it, hotmail.it",
        "it, it, com, eu",
    ),
    Country(  # Netherlands
        "Jan, Maria, Johannes, Anna, Pieter, Johanna, Willem, Emma, Daan, Sophie, Sem, Julia, Lucas, Tess, Bram,"
        " Fleur, Thijs, Sanne, Jeroen, Femke, Maarten, Lotte, Ruben, Anouk, Zoë, Chloë",
        "de Jong, Jansen, de Vries, van den Berg, van Dijk, Bakker, Janssen, Visser, Smit, Meijer, de Boer, Mulder,"
        " de Groot, Bos, Vos, Peters, Hendriks, van Leeuwen, Dekker, Brouwer, de Wit, Dijkstra, Smits, Kok, Jacobs",
        "gmail.com, hotmail.nl, ziggo.nl, kpnmail.nl, xs4all.nl, live.nl, outlook.com",
        "nl, nl, com, eu",
    ),
    Country(  # Poland
        "Piotr, Anna, Krzysztof, Maria, Andrzej, Katarzyna, Tomasz, Małgorzata, Paweł, Agnieszka, Jan, Barbara,"
        " Michał, Ewa, Marcin, Magdalena, Jakub, Joanna, Łukasz, Aleksandra, Grzegorz, Zofia, Stanisław, Żaneta",
        "Nowak, Kowalski, Wiśniewski, Wójcik, Kowalczyk, Kamiński, Lewandowski, Zieliński, Szymański, Woźniak,"
        " Dąbrowski, Kozłowski, Mazur, Jankowski, Kwiatkowski, Krawczyk, Piotrowski, Grabowski, Pawłowski, Król",
        "wp.pl, onet.pl, gmail.com, o2.pl, interia.pl, op.pl",
        "pl, pl, com.pl, eu",
    ),
    Country(  # Sweden
        "Erik, Anna, Lars, Maria, Karl, Elisabeth, Anders, Eva, Johan, Kristina, Per, Birgitta, Nils, Karin, Mikael,"
        " Linnéa, Björn, Åsa, Gustav, Sofia, Göran, Ingrid, Oskar, Ebba, Håkan, Märta",
        "Andersson, Johansson, Karlsson, Nilsson, Eriksson, Larsson, Olsson, Persson, Svensson, Gustafsson,"
        " Pettersson, Jonsson, Jansson, Hansson, Bengtsson, Jönsson, Lindberg, Jakobsson, Lindström, Öberg, Åkesson",
        "gmail.com, hotmail.se, telia.com, live.se, outlook.com, spray.se",
        "se, se, nu, com",
    ),
    Country(  # Brazil
        "José, Maria, João, Ana, Antônio, Francisca, Francisco, Adriana, Carlos, Juliana, Paulo, Márcia, Pedro,"
        " Fernanda, Lucas, Patrícia, Luiz, Aline, Marcos, Sandra, Gabriel, Camila, Rafael, Letícia, Thiago, Beatriz",
        "da Silva, dos Santos, Oliveira, Souza, Rodrigues, Ferreira, Alves, Pereira, Lima, Gomes, Costa, Ribeiro,"
        " Martins, Carvalho, Almeida, Lopes, Soares, Fernandes, Vieira, Barbosa, Rocha, Dias, Araújo, Gonçalves",
        "gmail.com, hotmail.com, uol.com.br, bol.com.br, terra.com.br, yahoo.com.br, ig.com.br",
        "com.br, com.br, com.br, org.br, com",
    ),
    Country(  # Mexico
        "Juan, María, José, Guadalupe, Luis, Margarita, Carlos, Verónica, Miguel, Alejandra, Jorge, Leticia, Pedro,"
        " Rosa, Fernando, Gabriela, Ricardo, Adriana, Eduardo, Yolanda, Raúl, Patricia, Sergio, Itzel",
        "Hernández, García, Martínez, López, González, Rodríguez, Pérez, Sánchez, Ramírez, Cruz, Flores, Gómez,"
        " Morales, Vázquez, Reyes, Jiménez, Torres, Díaz, Gutiérrez, Mendoza, Ruiz, Aguilar, Ortiz, Castillo, Núñez",
        "gmail.com, hotmail.com, prodigy.net.mx, yahoo.com.mx, live.com.mx, outlook.com",
        "com.mx, com.mx, mx, com",
    ),
    Country(  # India
        "Aarav, Priya, Rahul, Ananya, Amit, Pooja, Vijay, Sunita, Rajesh, Neha, Sanjay, Kavita, Arjun, Deepika,"
        " Suresh, Lakshmi, Vikram, Anjali, Rohan, Meera, Imran, Fatima, Karthik, Divya, Harpreet, Simran",
        "Sharma, Kumar, Singh, Patel, Gupta, Reddy, Khan, Das, Nair, Iyer, Rao, Mehta, Joshi, Verma, Mishra, Yadav,"
        " Chatterjee, Mukherjee, Pillai, Desai, Kaur, Agarwal, Bose, Shah, Menon, Subramanian",
        "gmail.com, yahoo.co.in, rediffmail.com, outlook.com, hotmail.com, yahoo.in",
        "in, co.in, com, org.in",
    ),
    Country(  # Japan
        "Haruto, Yui, Sota, Aoi, Yuto, Hina, Hiroshi, Yoko, Kenji, Keiko, Takashi, Sachiko, Daiki, Misaki, Ren,"
        " Sakura, Shota, Nanami, Kazuya, Ayaka, Ryo, Emi, Naoki, Tomoko, 太郎, 花子",
        "Sato, Suzuki, Takahashi, Tanaka, Watanabe, Ito, Yamamoto, Nakamura, Kobayashi, Kato, Yoshida, Yamada, Sasaki,"
        " Yamaguchi, Matsumoto, Inoue, Kimura, Hayashi, Shimizu, Saito, Mori, Abe, Ikeda, Hashimoto, Ōta",
        "yahoo.co.jp, gmail.com, docomo.ne.jp, ezweb.ne.jp, softbank.ne.jp, icloud.com",
        "co.jp, co.jp, jp, ne.jp, com",
    ),
    Country(  # Australia
        "Jack, Charlotte, Noah, Olivia, William, Amelia, Liam, Isla, Lachlan, Matilda, Cooper, Ruby, Ethan, Zoe,"
        " Bailey, Chloe, Angus, Georgia, Mitchell, Jasmine, Jarrah, Kirra, Wei, Mei, Nikolaos, Eleni",
        "Smith, Jones, Williams, Brown, Wilson, Taylor, Nguyen, Johnson, Martin, White, Anderson, Walker, Thompson,"
        " Thomas, Lee, Ryan, Harris, Kelly, Robinson, Singh, Chen, Papadopoulos, Campbell, O'Connor, Wang, McDonald",
        "gmail.com, bigpond.com, hotmail.com, optusnet.com.au, yahoo.com.au, outlook.com.au",
        "com.au, com.au, net.au, org.au",
    ),
    Country(  # Türkiye
        "Mehmet, Fatma, Mustafa, Ayşe, Ahmet, Emine, Ali, Hatice, Hüseyin, Zeynep, Hasan, Elif, İbrahim, Meryem,"
        " Murat, Şerife, Yusuf, Zehra, Ömer, Sultan, Emre, Büşra, Burak, Gülşen, Çağla, Oğuz",
        "Yılmaz, Kaya, Demir, Şahin, Çelik, Yıldız, Yıldırım, Öztürk, Aydın, Özdemir, Arslan, Doğan, Kılıç, Aslan,"
        " Çetin, Kara, Koç, Kurt, Özkan, Şimşek, Polat, Korkmaz, Çakır, Erdoğan, Güneş, Aksoy",
        "gmail.com, hotmail.com, mynet.com, yahoo.com.tr, superonline.com, outlook.com.tr",
        "com.tr, com.tr, net.tr, com",
    ),
    Country(  # Nigeria
        "Chinedu, Ngozi, Emeka, Amaka, Oluwaseun, Folake, Babatunde, Yetunde, Ibrahim, Aisha, Musa, Zainab, Chukwuma,"
        " Ifeoma, Tunde, Funke, Abdullahi, Halima, Obinna, Chioma, Samuel, Blessing, Uche, Adaeze",
        "Okafor, Adeyemi, Okonkwo, Balogun, Ibrahim, Mohammed, Eze, Adebayo, Nwosu, Bello, Ojo, Abubakar, Obi,"
        " Ogunleye, Chukwu, Yusuf, Nwachukwu, Afolabi, Musa, Okeke, Olawale, Danjuma, Igwe, Lawal, Onyeka",
        "gmail.com, yahoo.com, hotmail.com, ymail.com, outlook.com, yahoo.co.uk",
        "com.ng, ng, com, org.ng",
    ),
)

COMPANY_WORDS = (
    "alpha, amber, apex, atlas, aurora, blue, bright, cedar, city, clear, coast, crown, delta, eagle, east, echo,"
    " falcon, first, global, gold, green, harbor, helix, horizon, iris, jade, kappa, lake, lotus, luna, maple, metro,"
    " mira, nexa, north, nova, oak, ocean, omega, orion, pacific, pine, polar, prime, quartz, river, royal, sigma,"
    " silver, solar, south, star, summit, terra, trans, union, urban, vega, vertex, vista, west, zenith"
)
COMPANY_KINDS = (
    "consulting, data, design, energy, engineering, estates, finance, foods, group, health, -it, lab, legal, logistics,"
    " media, mobility, motors, pharma, print, service, soft, -solutions, studio, systems, tech, textil, tours, trade,"
    " travel, works"
)
