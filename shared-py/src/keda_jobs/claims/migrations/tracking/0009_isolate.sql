-- Runs a statement on parts of some keys, each behind a savepoint: first on all of them, and on the halves of a part
-- that it fails on. $1 of the statement are keys, $2 the texts that belong to them, a row of the array for each column.
-- Returns the number of rows that each part wrote, and for each key that is refused alone the fields of the error.
-- It runs what its caller may run: a worker calls it for what takes ten times as long from outside.
CREATE FUNCTION keda_jobs.batch_isolate(statement text, keys bigint[], texts text[])
RETURNS TABLE (rows integer, key bigint, fields jsonb)
LANGUAGE plpgsql AS $$
DECLARE
  firsts integer[] := ARRAY[1];
  lasts integer[] := ARRAY[cardinality(keys)];
  parts integer := least(cardinality(keys), 1);
  first integer;
  middle integer;
  last integer;
  code text;
  message text;
  context text;
  its_table text;
  its_column text;
  its_type text;
  its_constraint text;
BEGIN
  WHILE parts > 0 LOOP
    first := firsts[parts];
    last := lasts[parts];
    middle := (first + last) / 2;
    parts := parts - 1;
    BEGIN
      EXECUTE statement USING keys[first:last], texts[:][first:last];
      GET DIAGNOSTICS rows = ROW_COUNT;
      key := NULL;
      fields := NULL;
      RETURN NEXT;
    EXCEPTION WHEN OTHERS THEN
      IF first < last THEN
        firsts[parts + 1:parts + 2] := ARRAY[middle + 1, first];
        lasts[parts + 1:parts + 2] := ARRAY[last, middle];
        parts := parts + 2;
      ELSE
        GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, context = PG_EXCEPTION_CONTEXT,
          its_table = TABLE_NAME, its_column = COLUMN_NAME, its_type = PG_DATATYPE_NAME, its_constraint = CONSTRAINT_NAME;
        rows := 0;
        key := keys[first];
        -- By the letters of PostgreSQL's protocol.
        fields := jsonb_build_object(
          'C', code, 'M', message, 'W', context,
          't', its_table, 'c', its_column, 'd', its_type, 'n', its_constraint
        );
        RETURN NEXT;
      END IF;
    END;
  END LOOP;
END $$;
