package sqldbtest

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// EachWay is Each with one more subtest, "pgbouncer": PostgreSQL through a pooler
// in transaction mode.
func EachWay(t *testing.T, fn func(t *testing.T, db *sqldb.DB)) {
	t.Helper()
	Each(t, fn)
	t.Run("pgbouncer", func(t *testing.T) { fn(t, OpenPooled(t, PostgresURL(t))) })
}

// OpenPooled opens a handle on a database that PostgresURL made, through
// pgbouncer, and closes it at the end of the test.
func OpenPooled(t testing.TB, url string) *sqldb.DB {
	t.Helper()
	db, err := sqldb.OpenPostgres(t.Context(), sqldb.PostgresOptions{URL: PooledURL(t, url), Pooled: true, DirectURL: url})
	if err != nil {
		t.Fatalf("opening PostgreSQL through pgbouncer: %v", err)
	}
	closeAtEnd(t, db)
	return db
}

// PooledURL returns how to reach a database that PostgresURL made through
// pgbouncer, which is started once per test process and goes away with it.
func PooledURL(t testing.TB, direct string) string {
	t.Helper()
	s, err := theServer()
	if err == nil {
		err = s.startPooler()
	}
	if err != nil {
		t.Fatalf("pgbouncer is needed for this test: %v", err)
	}
	u, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("port", poolerPort)
	u.RawQuery = q.Encode()
	return u.String()
}

const poolerPort = "6432"

// poolerSettings have few connections to the server, which change hands all the
// time.
const poolerSettings = `[databases]
* = host=%[1]s port=5432 user=%[2]s
[pgbouncer]
listen_addr =
unix_socket_dir = %[1]s
listen_port = %[3]s
auth_type = any
pool_mode = transaction
default_pool_size = 6
max_client_conn = 500
server_lifetime = 600
server_idle_timeout = 10
logfile =
pidfile =
`

// keepPooler is keep for pgbouncer, whose files are in the server's directory
// and go with it.
const keepPooler = `
"$1" -q "$2/pgbouncer.ini" >"$2/pgbouncer.log" 2>&1 &
cat >/dev/null
kill -TERM $!
wait $!
`

// startPooler starts pgbouncer beside the server if that was not done yet.
func (s *server) startPooler() (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pooler != nil || s.poolerErr != nil {
		return s.poolerErr
	}
	defer func() { s.poolerErr = err }()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		if program = "/usr/sbin/pgbouncer"; syscall.Access(program, 1) != nil {
			return errors.New("no pgbouncer in PATH or /usr/sbin: install Debian's package pgbouncer")
		}
	}
	as, err := unprivileged() // it refuses root too
	if err != nil {
		return err
	}
	file := filepath.Join(s.dir, "pgbouncer.ini")
	if err := os.WriteFile(file, fmt.Appendf(nil, poolerSettings, s.dir, superuser, poolerPort), 0o644); err != nil {
		return err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd := exec.Command("sh", "-c", keepPooler, "sh", program, s.dir)
	cmd.Dir, cmd.Stdin = s.dir, read
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as, Setpgid: true}
	err = cmd.Start()
	_ = read.Close() // the child has its own
	if err != nil {
		return errors.Join(fmt.Errorf("starting pgbouncer: %w", err), write.Close())
	}
	s.pooler, s.poolerLine = cmd, write
	return s.waitPooler()
}

func (s *server) waitPooler() error {
	deadline := time.Now().Add(startTimeout)
	for {
		if _, err := os.Stat(filepath.Join(s.dir, ".s.PGSQL."+poolerPort)); err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(s.dir, "pgbouncer.log")) // without it the error stands alone
			return fmt.Errorf("pgbouncer did not start\n%s", log)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// stopPooler ends pgbouncer and waits for it.
func (s *server) stopPooler() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pooler == nil {
		return nil
	}
	if err := s.poolerLine.Close(); err != nil {
		return err
	}
	_ = s.pooler.Wait() // with the status of a program that was told to end
	s.pooler = nil
	return nil
}
