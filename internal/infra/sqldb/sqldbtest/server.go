package sqldbtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	superuser    = "berth"
	startTimeout = 60 * time.Second
	callTimeout  = 60 * time.Second
	install      = "install Debian's package postgresql, or put the directory of initdb and postgres into PATH"
)

// shared is the server of this process, started by the first test that asks.
var shared struct {
	sync.Mutex
	server *server
	err    error
}

func theServer() (*server, error) {
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil && shared.err == nil {
		shared.server, shared.err = startServer()
	}
	return shared.server, shared.err
}

func stopServer() error {
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		return nil
	}
	err := shared.server.stop()
	shared.server, shared.err = nil, errors.New("the PostgreSQL server has been stopped")
	return err
}

// server is a PostgreSQL server in a temporary directory, reached over a socket
// in it.
type server struct {
	dir       string
	keeper    *exec.Cmd
	lifeline  *os.File // while this is open, the server runs
	databases atomic.Int64

	mu   sync.Mutex
	free []string // databases in the form, without rows

	pooler     *exec.Cmd // pgbouncer, once a test asked for it
	poolerLine *os.File
	poolerErr  error
}

// keep runs the server until its standard input ends, which the kernel sees to
// however the test process ends, and then removes it.
const keep = `
"$1"/postgres -D "$2/data" -k "$2" -p 5432 \
	-c listen_addresses= -c max_connections=200 -c shared_buffers=32MB \
	-c fsync=off -c synchronous_commit=off -c full_page_writes=off \
	-c wal_level=minimal -c max_wal_senders=0 -c autovacuum=off -c jit=off \
	-c deadlock_timeout=100ms >"$2/log" 2>&1 &
cat >/dev/null
kill -QUIT $!
wait $!
rm -rf "$2"
`

func startServer() (_ *server, err error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	as, err := unprivileged()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(temporary(), "berth-pg-")
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop())
		}
	}()
	if as != nil {
		if err := os.Chown(dir, int(as.Uid), int(as.Gid)); err != nil {
			return nil, err
		}
	}
	if err := initdb(bin, dir, as); err != nil {
		return nil, err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.lifeline = write
	cmd := exec.Command("sh", "-c", keep, "sh", bin, dir)
	cmd.Dir, cmd.Stdin = dir, read
	// A group of its own, so that Ctrl-C leaves the cleaning up to the end of
	// the lifeline.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as, Setpgid: true}
	err = cmd.Start()
	_ = read.Close() // the child has its own
	if err != nil {
		return nil, fmt.Errorf("starting postgres: %w", err)
	}
	s.keeper = cmd
	return s, s.waitReady()
}

// binaries is the directory of the newest initdb and postgres of the machine.
func binaries() (string, error) {
	if initdb, err := exec.LookPath("initdb"); err == nil {
		if initdb, err = filepath.EvalSymlinks(initdb); err == nil {
			if _, err := os.Stat(filepath.Join(filepath.Dir(initdb), "postgres")); err == nil {
				return filepath.Dir(initdb), nil
			}
		}
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", errors.New("no initdb in PATH or /usr/lib/postgresql: " + install)
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(strings.Split(path, "/")[4]) // not a number: the last choice
		return n
	}
	newest := slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })
	return filepath.Dir(newest), nil
}

// unprivileged is whom to run the server as: PostgreSQL refuses root.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as: " + install)
}

// temporary is where the server's directory goes: into memory where there is
// room, since making and dropping databases is all writing, else to the disk.
func temporary() string {
	const memory, room = "/dev/shm", 1 << 30
	var fs syscall.Statfs_t
	if err := syscall.Statfs(memory, &fs); err == nil && fs.Bavail*uint64(fs.Bsize) >= room {
		return memory
	}
	// The path of a socket has at most 107 bytes.
	if d := os.TempDir(); len(d) <= 60 {
		return d
	}
	return "/tmp"
}

// initdb makes the server's files. Text sorts by the rules of American English,
// on purpose: what must sort bytewise has to say so.
func initdb(bin, dir string, as *syscall.Credential) error {
	cmd := exec.Command(filepath.Join(bin, "initdb"), "--pgdata", filepath.Join(dir, "data"),
		"--username", superuser, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8",
		"--locale-provider=icu", "--icu-locale=en-US", "--no-sync", "--no-instructions")
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb (PostgreSQL 15 or newer with ICU is needed; %s): %w\n%s", install, err, out)
	}
	return nil
}

func (s *server) url(database string) string {
	q := url.Values{"host": {s.dir}, "port": {"5432"}, "user": {superuser}, "sslmode": {"disable"}}
	return "postgres:///" + database + "?" + q.Encode()
}

func (s *server) waitReady() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		err := s.admin(ctx, "SELECT 1")
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			log, _ := os.ReadFile(filepath.Join(s.dir, "log")) // without it the error stands alone
			return fmt.Errorf("PostgreSQL did not start: %w\n%s", err, log)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// admin runs SQL on the server's own database.
func (s *server) admin(ctx context.Context, sql string) error {
	return s.exec(ctx, "postgres", sql)
}

// exec runs SQL on a database, on a connection of its own.
func (s *server) exec(ctx context.Context, database, sql string) error {
	conn, err := pgconn.Connect(ctx, s.url(database))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql).ReadAll()
	return errors.Join(err, conn.Close(ctx))
}

// stop ends the server and waits until its files are gone.
func (s *server) stop() error {
	if s.keeper == nil {
		if s.lifeline != nil {
			_ = s.lifeline.Close() // nobody holds on to it
		}
		return os.RemoveAll(s.dir)
	}
	if err := errors.Join(s.stopPooler(), s.lifeline.Close()); err != nil {
		return err
	}
	return s.keeper.Wait()
}
