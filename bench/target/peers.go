package target

import (
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// distribution is the registry of CNCF's, as its module is.
func distribution(tools string) Target {
	return kind("distribution", true, func(ctx context.Context, s *Server, dir string) error {
		path, err := installed(tools, "distribution")
		if err != nil {
			return err
		}
		info, err := buildinfo.ReadFile(path)
		if err != nil {
			return err
		}
		s.Version = strings.TrimPrefix(info.Main.Version, "v")
		// It sends traces to a collector unless it is told that there is none.
		return startDistribution(ctx, s, dir, path, "OTEL_TRACES_EXPORTER=none")
	})
}

// dockerRegistry is distribution 2, as Debian has it.
func dockerRegistry() Target {
	return kind("docker-registry", true, func(ctx context.Context, s *Server, dir string) error {
		path, err := fromDebian("docker-registry")
		if err != nil {
			return err
		}
		version, err := output(ctx, environment(dir), path, "--version")
		if err != nil {
			return err
		}
		if words := strings.Fields(version); len(words) > 0 {
			s.Version = strings.TrimPrefix(words[len(words)-1], "v")
		}
		return startDistribution(ctx, s, dir, path)
	})
}

// startDistribution starts either with the settings that their packages come with (the
// cache of descriptions, deletions), without a login and without a log of requests.
func startDistribution(ctx context.Context, s *Server, dir, path string, env ...string) error {
	listen, err := freeAddress()
	if err != nil {
		return err
	}
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf(`version: 0.1
log:
  level: error
  accesslog:
    disabled: true
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: %q
  delete:
    enabled: true
http:
  addr: %q
  secret: benchmark
`, filepath.Join(dir, "storage"), listen)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	s.Base, s.Host, s.path = "http://"+listen, listen, "/v2/"
	s.program = program{path: path, args: []string{"serve", config}, env: environment(dir, env...), dir: dir, log: filepath.Join(dir, "log")}
	_, err = s.start(ctx)
	return err
}

// zot is CNCF's other registry, without its extensions and with its own settings; one of
// them is that it does not sync what it writes.
func zot(tools string) Target {
	return kind("zot", true, func(ctx context.Context, s *Server, dir string) error {
		path, err := installed(tools, "zot")
		if err != nil {
			return err
		}
		if s.Version, err = zotVersion(ctx, dir, path); err != nil {
			return err
		}
		listen, err := freeAddress()
		if err != nil {
			return err
		}
		host, port, err := net.SplitHostPort(listen)
		if err != nil {
			return err
		}
		type section map[string]string
		text, err := json.Marshal(map[string]any{
			"distSpecVersion": "1.0.1-dev",
			"storage":         section{"rootDirectory": filepath.Join(dir, "storage")},
			"http":            section{"address": host, "port": port},
			"log":             section{"level": "error"},
		})
		config := filepath.Join(dir, "config.json")
		if err := errors.Join(err, os.WriteFile(config, text, 0o600)); err != nil {
			return err
		}
		s.Base, s.Host, s.path = "http://"+listen, listen, "/v2/"
		s.program = program{path: path, args: []string{"serve", config}, env: environment(dir), dir: dir, log: filepath.Join(dir, "log")}
		_, err = s.start(ctx)
		return err
	})
}

// zotVersion is what the program was told its version is when it was built; it logs it.
func zotVersion(ctx context.Context, dir, path string) (string, error) {
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.Env = environment(dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("zot --version: %w\n%s", err, out)
	}
	var line struct {
		Commit string `json:"commit"`
	}
	if err := json.Unmarshal(out, &line); err != nil {
		return "", fmt.Errorf("zot --version: %w\n%s", err, out)
	}
	return strings.TrimPrefix(line.Commit, "v"), nil
}

// nginx serves files as Debian has it set up: sendfile, one worker for each core. It is
// the floor of what a download costs.
func nginx() Target {
	return kind("nginx", false, func(ctx context.Context, s *Server, dir string) error {
		s.Root = filepath.Join(dir, "root")
		path, err := fromDebian("nginx")
		if err != nil {
			return err
		}
		version, err := exec.CommandContext(ctx, path, "-v").CombinedOutput()
		if err != nil {
			return err
		}
		_, s.Version, _ = strings.Cut(strings.TrimSpace(string(version)), "nginx/")
		listen, err := freeAddress()
		if err := errors.Join(err, os.Mkdir(s.Root, 0o755), os.Mkdir(filepath.Join(dir, "tmp"), 0o755)); err != nil {
			return err
		}
		owner := ""
		if os.Geteuid() == 0 {
			owner = "user root;\n" // the benchmark's directory is not everybody's
		}
		config := filepath.Join(dir, "nginx.conf")
		text := owner + fmt.Sprintf(`daemon off;
pid nginx.pid;
error_log stderr crit;
worker_processes auto;
events {
	worker_connections 4096;
}
http {
	access_log off;
	default_type application/octet-stream;
	sendfile on;
	tcp_nopush on;
	keepalive_requests 1000000000;
	client_body_temp_path tmp/body;
	proxy_temp_path tmp/proxy;
	fastcgi_temp_path tmp/fastcgi;
	uwsgi_temp_path tmp/uwsgi;
	scgi_temp_path tmp/scgi;
	server {
		listen %s;
		root %q;
	}
}
`, listen, s.Root)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			return err
		}
		s.Base, s.Host, s.path = "http://"+listen, listen, "/"
		s.program = program{
			path: path, args: []string{"-p", dir + "/", "-e", "stderr", "-c", config}, env: environment(dir), dir: dir, log: filepath.Join(dir, "log"),
			death: syscall.SIGTERM, // the workers end with it
		}
		_, err = s.start(ctx)
		return err
	})
}

// leastWork is this program as the package floor: what a registry that seals and syncs has
// to do, and nothing else.
func leastWork() Target {
	return kind("floor", false, func(ctx context.Context, s *Server, dir string) error {
		path, err := os.Executable()
		if err != nil {
			return err
		}
		listen, err := freeAddress()
		data := filepath.Join(dir, "data")
		if err := errors.Join(err, os.Mkdir(data, 0o700)); err != nil {
			return err
		}
		s.Base, s.Host, s.path, s.Blobs, s.Version = "http://"+listen, listen, "/v2/", true, runtime.Version()
		s.program = program{path: path, args: []string{FloorCommand, listen, data}, env: environment(dir), dir: dir, log: filepath.Join(dir, "log")}
		_, err = s.start(ctx)
		return err
	})
}

// FloorCommand is the argument that has the benchmark's own program be the target floor:
// an address and a directory follow it.
const FloorCommand = "floor"
