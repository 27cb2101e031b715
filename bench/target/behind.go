package target

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// startPostgres starts a PostgreSQL server with its own settings, those for durability
// included, and returns the environment that has Berth use it.
func (s *Server) startPostgres(ctx context.Context, dir string) ([]string, error) {
	bin, err := postgresPrograms()
	if err != nil {
		return nil, err
	}
	as, err := unprivileged()
	if err != nil {
		return nil, err
	}
	home := filepath.Join(dir, "postgres")
	if err := os.Mkdir(home, 0o700); err != nil {
		return nil, err
	}
	if as != nil {
		if err := errors.Join(os.Chown(home, int(as.Uid), int(as.Gid)), letIn(dir)); err != nil {
			return nil, err
		}
	}
	data := filepath.Join(home, "data")
	initdb := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "--pgdata", data,
		"--username=berth", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions")
	initdb.Env, initdb.Dir = environment(home), "/"
	initdb.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	listen, err := freeAddress()
	if err != nil {
		return nil, err
	}
	_, port, _ := strings.Cut(listen, ":")
	p := program{
		path: filepath.Join(bin, "postgres"), dir: "/", log: filepath.Join(dir, "postgres.log"), as: as, env: environment(home),
		args: []string{"-D", data, "-p", port, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="},
		end:  syscall.SIGINT, death: syscall.SIGQUIT,
	}
	postgres, err := p.start()
	if err != nil {
		return nil, err
	}
	s.behind = append(s.behind, postgres)
	err = settle(ctx, &p, postgres, func() error {
		// The last line of this file says what pg_ctl waits for.
		text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
		if err == nil && !strings.HasSuffix(strings.TrimSpace(string(text)), "ready") {
			err = errors.New("it is not ready")
		}
		return err
	})
	secret, err2 := randomText(32)
	return []string{"BERTH_DATABASE=postgres://berth@" + listen + "/postgres?sslmode=disable", "BERTH_MASTER_KEY=" + secret}, errors.Join(err, err2)
}

// startBucket starts an S3 server with a bucket and returns the environment that has
// Berth use it.
func (s *Server) startBucket(ctx context.Context, tools, dir string) ([]string, error) {
	path, err := installed(tools, "versitygw")
	if err != nil {
		return nil, err
	}
	data, meta := filepath.Join(dir, "s3", "data"), filepath.Join(dir, "s3", "meta")
	listen, err := freeAddress()
	if err := errors.Join(err, os.MkdirAll(data, 0o700), os.MkdirAll(meta, 0o700)); err != nil {
		return nil, err
	}
	secret, err := randomText(20)
	if err != nil {
		return nil, err
	}
	api := &API{Endpoint: "http://" + listen, Region: "eu-north-1", AccessKey: "BERTHBENCH", SecretKey: secret}
	p := program{
		path: path, dir: dir, log: filepath.Join(dir, "versitygw.log"),
		args: []string{"--port", listen, "--region", api.Region, "--quiet", "--keep-alive", "posix", "--sidecar", meta, data},
		env:  environment(dir, "ROOT_ACCESS_KEY="+api.AccessKey, "ROOT_SECRET_KEY="+api.SecretKey),
	}
	gateway, err := p.start()
	if err != nil {
		return nil, err
	}
	s.behind = append(s.behind, gateway)
	err = settle(ctx, &p, gateway, func() error {
		r, err := http.NewRequestWithContext(ctx, http.MethodPut, api.Endpoint+"/layers", nil)
		if err != nil {
			return err
		}
		_, err = signed(ctx, r, "", "s3", api)
		return err
	})
	return []string{"BERTH_BLOBS=s3://layers", "BERTH_S3_ENDPOINT=" + api.Endpoint, "BERTH_S3_PATH_STYLE=true", "BERTH_S3_REGION=" + api.Region,
		"AWS_ACCESS_KEY_ID=" + api.AccessKey, "AWS_SECRET_ACCESS_KEY=" + api.SecretKey}, err
}

// settle waits until a program that was started is ready.
func settle(ctx context.Context, p *program, running *process, ready func() error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := ready()
		if err == nil {
			return nil
		}
		name := filepath.Base(p.path)
		select {
		case <-running.done:
			return fmt.Errorf("%s ended: %w\n%s", name, running.err, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s does not come up: %w\n%s", name, err, p.tail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// signed signs a request with the given body, sends it and returns the answer's body.
func signed(ctx context.Context, r *http.Request, body, service string, api *API) ([]byte, error) {
	sum := sha256.Sum256([]byte(body))
	hash := hex.EncodeToString(sum[:])
	if service == "s3" {
		r.Header.Set("X-Amz-Content-Sha256", hash)
	}
	key := aws.Credentials{AccessKeyID: api.AccessKey, SecretAccessKey: api.SecretKey}
	if err := v4.NewSigner().SignHTTP(ctx, key, r, hash, service, api.Region, time.Now()); err != nil {
		return nil, err
	}
	return do(r)
}

// postgresPrograms is the directory of the newest initdb and postgres of the machine.
func postgresPrograms() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		version := func(path string) int {
			n, _ := strconv.Atoi(strings.Split(path, "/")[4]) // not a number: the last choice
			return n
		}
		return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })), nil
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		return "", fmt.Errorf("PostgreSQL is not there; run scripts/install-test-deps.sh: %w", err)
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return "", err
	}
	return filepath.Dir(path), nil
}

// unprivileged is whom to run PostgreSQL as, which refuses root; nil is this user.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as: %w", err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(err1, err2)
}

// letIn lets other users pass through a directory and the one above it, which is the
// benchmark's too; those above have to let them already.
func letIn(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	for above := 0; ; above++ {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		switch {
		case info.Mode()&0o001 != 0:
		case above < 2:
			if err := os.Chmod(dir, info.Mode().Perm()|0o011); err != nil {
				return err
			}
		default:
			return fmt.Errorf("PostgreSQL runs as another user, who cannot pass through %s; choose a directory where it can", dir)
		}
		if dir == "/" {
			return nil
		}
		dir = filepath.Dir(dir)
	}
}

// randomText is n random bytes in base64, which Berth's master key wants as well.
func randomText(n int) (string, error) {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(b), nil
}
