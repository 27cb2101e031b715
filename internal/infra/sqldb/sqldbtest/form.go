package sqldbtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing/fstest"

	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// prepared is the form of this process's databases.
var prepared struct {
	sync.Mutex
	forms  []Form
	sqlite []byte // a file in that form, once one was asked for
}

func prepare(forms []Form) {
	prepared.Lock()
	defer prepared.Unlock()
	prepared.forms = forms
}

func theForms() []Form {
	prepared.Lock()
	defer prepared.Unlock()
	return prepared.forms
}

// sqliteForm is a SQLite file in the form, nil if there is none.
func sqliteForm() (_ []byte, err error) {
	prepared.Lock()
	defer prepared.Unlock()
	if prepared.sqlite != nil || len(prepared.forms) == 0 {
		return prepared.sqlite, nil
	}
	dir, err := os.MkdirTemp("", "berth-sqlite-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "form.db")
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	db, err := sqldb.OpenSQLite(ctx, sqldb.SQLiteOptions{Path: path})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(apply(ctx, db, prepared.forms), db.Close()); err != nil {
		return nil, err
	}
	prepared.sqlite, err = os.ReadFile(path) // closing has moved the log into it
	return prepared.sqlite, err
}

func apply(ctx context.Context, db *sqldb.DB, forms []Form) error {
	for _, form := range forms {
		if err := form(ctx, db); err != nil {
			return err
		}
	}
	return nil
}

// joined are the migrations in dirs with all statements of each sent as one. To
// find the end of a statement goose takes 4 MiB from a pool for each line, and the
// race detector has pools lose a quarter of what they are given: more than half
// of the time of migrating.
func joined(dirs []fs.FS) ([]fs.FS, error) {
	const up = "-- +goose Up\n"
	all := make([]fs.FS, len(dirs))
	for i, dir := range dirs {
		names, err := fs.Glob(dir, "*.sql")
		if err != nil {
			return nil, err
		}
		files := fstest.MapFS{}
		for _, name := range names {
			text, err := fs.ReadFile(dir, name)
			if err != nil {
				return nil, err
			}
			if before, after, ok := bytes.Cut(text, []byte(up)); ok && !bytes.Contains(after, []byte("-- +goose")) {
				text = fmt.Appendf(before, "%s-- +goose StatementBegin\n%s\n-- +goose StatementEnd\n", up, after)
			}
			files[name] = &fstest.MapFile{Data: text}
		}
		all[i] = files
	}
	return all, nil
}

// take is a database without rows: one that was given back, or a new one.
func (s *server) take(ctx context.Context) (string, error) {
	s.mu.Lock()
	if n := len(s.free); n > 0 {
		name := s.free[n-1]
		s.free = s.free[:n-1]
		s.mu.Unlock()
		return name, nil
	}
	s.mu.Unlock()
	name := "t" + strconv.FormatInt(s.databases.Add(1), 10)
	if err := s.admin(ctx, "CREATE DATABASE "+name); err != nil {
		return "", err
	}
	forms := theForms()
	if len(forms) == 0 {
		return name, nil
	}
	db, err := sqldb.OpenPostgres(ctx, sqldb.PostgresOptions{URL: s.url(name)})
	if err != nil {
		return "", err
	}
	if err := errors.Join(apply(ctx, db, forms), db.Close()); err != nil {
		return "", err
	}
	return name, s.exec(ctx, name, remember)
}

// giveBack keeps the database for another test if it can be brought back to
// what it was, and drops it else.
func (s *server) giveBack(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if len(theForms()) > 0 && s.exec(ctx, name, empty) == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.free = append(s.free, name)
		return nil
	}
	return s.admin(ctx, fmt.Sprintf("DROP DATABASE %s WITH (FORCE)", name))
}

const (
	// remember keeps beside the tables what empty needs: what the database
	// looks like, and the rows that are there from the start.
	remember = `
CREATE SCHEMA form;
CREATE FUNCTION form.looks() RETURNS text LANGUAGE sql AS $$
	SELECT md5(string_agg(line, E'\n' ORDER BY line)) FROM (
		SELECT (a.attrelid, a.attname, a.atttypid, a.attnotnull, a.atthasdef, a.attisdropped)::text
			FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE c.relnamespace = 'public'::regnamespace
		UNION ALL SELECT (oid, relname, relkind, relpersistence, relhastriggers, relrowsecurity, reloptions)::text
			FROM pg_class WHERE relnamespace = 'public'::regnamespace
		UNION ALL SELECT (oid, conname, convalidated)::text FROM pg_constraint WHERE connamespace = 'public'::regnamespace
		UNION ALL SELECT (indexrelid, indisunique, indisvalid)::text FROM pg_index
		UNION ALL SELECT oid::text FROM pg_trigger
		UNION ALL SELECT oid::text FROM pg_proc
		UNION ALL SELECT (oid, typname)::text FROM pg_type WHERE typnamespace = 'public'::regnamespace
		UNION ALL SELECT setconfig::text FROM pg_db_role_setting) AS all_of_it(line)
$$;
DO $$
DECLARE
	t text;
	n bigint;
BEGIN
	FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
		EXECUTE format('SELECT count(*) FROM public.%I', t) INTO n;
		IF n > 0 THEN
			EXECUTE format('CREATE TABLE form.%I AS TABLE public.%I', t, t);
		END IF;
	END LOOP;
END $$;
CREATE TABLE form."what it looks like" AS SELECT form.looks() AS at_first;
`

	// empty brings the database back to that. It fails where somebody is still
	// connected, and where more than rows has changed. What was large is
	// truncated, since deleting leaves the room taken; what was small is not,
	// since truncating makes new files.
	empty = `
DO $$
DECLARE
	t text;
BEGIN
	IF (SELECT at_first FROM form."what it looks like") <> form.looks() THEN
		RAISE EXCEPTION 'not the form that it was';
	END IF;
	FOR i IN 1..100 LOOP
		EXIT WHEN NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend');
		IF i = 100 THEN
			RAISE EXCEPTION 'somebody is connected';
		END IF;
		PERFORM pg_sleep(0.01), pg_stat_clear_snapshot();
	END LOOP;
	SET LOCAL session_replication_role = replica;
	FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
		IF pg_relation_size(format('public.%I', t)) > 65536 THEN
			EXECUTE format('TRUNCATE public.%I CASCADE', t);
		ELSIF pg_relation_size(format('public.%I', t)) > 0 THEN
			EXECUTE format('DELETE FROM public.%I', t);
		END IF;
	END LOOP;
	FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = 'form' AND tablename <> 'what it looks like' LOOP
		EXECUTE format('INSERT INTO public.%I SELECT * FROM form.%I', t, t);
	END LOOP;
END $$;
DELETE FROM pg_statistic WHERE starelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace);
`
)
