-- The queue's triggers fire in sessions that replay a load too (session_replication_role = replica). Applied each time,
-- because pg_restore --disable-triggers leaves them as ordinary ones. A trigger that somebody disabled stays disabled.
DO $$
DECLARE
  name text;
BEGIN
  FOR name IN
    SELECT tgname FROM pg_trigger
    WHERE tgrelid = '{table}'::regclass AND tgname = ANY('{triggers}'::text[]) AND tgenabled = 'O'
  LOOP
    EXECUTE format('ALTER TABLE {table} ENABLE ALWAYS TRIGGER %I', name);
  END LOOP;
END $$;
