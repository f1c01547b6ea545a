// Keeps the page current: fetches it again every two seconds while somebody looks, and changes only what differs, so that
// focus, selection, scroll position and what is typed stay. Times of <time data-local> are shown in the viewer's zone.
"use strict";

const EVERY_MS = 2000;
const LIMIT_MS = 10000;
const LIVE = "Keda-Jobs-Live";

const stale = document.getElementById("stale");
const pause = document.getElementById("pause");
let updatedAt = new Date();
let isPaused = false;
let timer;

function showLocalTimes(root) {
  for (const time of root.querySelectorAll("time[data-local]")) {
    const moment = new Date(time.dateTime);
    time.textContent = moment.toLocaleString([], { dateStyle: "medium", timeStyle: "medium" });
  }
}

// An element with an id is found again wherever it has moved. `data-still` marks what only its viewer changes.
function morph(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || old.id !== fresh.id) {
    old.replaceWith(document.importNode(fresh, true));
  } else if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
  } else if (!old.hasAttribute("data-still") && !old.isEqualNode(fresh)) {
    morphAttributes(old, fresh);
    morphChildren(old, fresh);
  }
}

function morphAttributes(old, fresh) {
  const isViewers = (name) => name === "open" && ["DETAILS", "DIALOG"].includes(old.nodeName);
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !isViewers(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value && !isViewers(name)) old.setAttribute(name, value);
  }
}

function morphChildren(old, fresh) {
  const byId = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
  const wanted = new Set([...fresh.children].map((child) => child.id).filter(Boolean));
  let next = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    while (next && next.id && !wanted.has(next.id)) {
      const gone = next;
      next = next.nextSibling;
      gone.remove();
    }
    const known = child.id && byId.get(child.id);
    if (known && known !== next) {
      old.insertBefore(known, next);
      morph(known, child);
    } else if (!next || (child.id && !known) || (!child.id && next.id)) {
      old.insertBefore(document.importNode(child, true), next);
    } else {
      const current = next;
      next = next.nextSibling;
      morph(current, child);
    }
  }
  while (next) {
    const gone = next;
    next = next.nextSibling;
    gone.remove();
  }
}

async function refresh() {
  const answer = await fetch(location.href, { headers: { [LIVE]: "1" }, signal: AbortSignal.timeout(LIMIT_MS) });
  if (answer.status === 401 || answer.redirected) {
    return showStale("The session is over. Reload the page to log in again.");
  }
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const live = fresh.getElementById("live");
  if (!live) throw new Error(`answer ${answer.status}`);
  showLocalTimes(live);
  morph(document.getElementById("live"), live);
  document.title = fresh.title;
  updatedAt = new Date();
  stale.hidden = true;
}

function showStale(text) {
  if (stale.textContent !== text) stale.textContent = text;
  stale.hidden = false;
}

async function tick() {
  clearTimeout(timer);
  if (isPaused || document.visibilityState === "hidden" || !pause) return;
  try {
    await refresh();
  } catch {
    showStale(`Not updated since ${updatedAt.toLocaleTimeString()}: the server of this page does not answer. ` +
      "Is `keda-jobs ui` running, and the port forwarded? This page goes on by itself.");
  }
  clearTimeout(timer);
  timer = setTimeout(tick, EVERY_MS);
}

showLocalTimes(document);
if (pause) {
  pause.hidden = false;
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.setAttribute("aria-pressed", String(isPaused));
    tick();
  });
  document.addEventListener("visibilitychange", tick);
  timer = setTimeout(tick, EVERY_MS);
}
