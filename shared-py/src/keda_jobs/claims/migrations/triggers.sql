-- The queue's triggers fire in sessions that replay a load too (session_replication_role = replica). Applied each time,
-- because pg_restore --disable-triggers leaves them as ordinary ones. A trigger that somebody disabled stays disabled.
DO $body$
DECLARE
  name text;
BEGIN
  FOR name IN
    SELECT tgname FROM pg_trigger
    WHERE tgrelid = {table_literal}::regclass AND tgname = ANY('{triggers}'::text[]) AND tgenabled = 'O'
  LOOP
    EXECUTE 'ALTER TABLE ' || {table_literal} || ' ENABLE ALWAYS TRIGGER ' || quote_ident(name);
  END LOOP;
END $body$;
