package deploy

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/berth-registry/berth/test/contract/harness"
)

// block is the only code block of a page in the language.
func block(t *testing.T, page, language string) string {
	t.Helper()
	all := regexp.MustCompile("(?s)\n```"+language+"\n(.*?)```").FindAllStringSubmatch(read(t, "docs", page), -1)
	if len(all) != 1 {
		t.Fatalf("docs/%s has %d blocks of %s, want one", page, len(all), language)
	}
	return all[0][1]
}

// TestBalancers pushes and pulls through the load balancers that docs/scale-out.md
// and compose configure, with the settings as they are printed but for addresses.
func TestBalancers(t *testing.T) {
	s := harness.Start(t, harness.Options{Config: "trusted_proxies: [127.0.0.0/8]\n"})
	s.CreateRepository(t, "nginx", "haproxy", "compose")
	nodes := regexp.MustCompile(`10\.0\.0\.1[12]:5000`)

	for _, c := range []struct {
		name, program string
		config        func(listen string) string
		args          func(file, dir string) []string
	}{
		{"nginx", "/usr/sbin/nginx", func(listen string) string {
			text := nodes.ReplaceAllString(block(t, "scale-out.md", "nginx"), s.Addr)
			text = strings.Replace(text, "listen 80;", "listen "+listen+";", 1)
			return "daemon off;\npid nginx.pid;\nevents {}\nhttp {\naccess_log off;\nclient_body_temp_path body;\nproxy_temp_path proxy;\nfastcgi_temp_path fastcgi;\nuwsgi_temp_path uwsgi;\nscgi_temp_path scgi;\n" + text + "}\n"
		}, func(file, dir string) []string { return []string{"-p", dir, "-c", file, "-e", "stderr"} }},
		{"haproxy", "/usr/sbin/haproxy", func(listen string) string {
			text := nodes.ReplaceAllString(block(t, "scale-out.md", "haproxy"), s.Addr)
			return strings.Replace(text, "bind :80", "bind "+listen, 1)
		}, func(file, _ string) []string { return []string{"-db", "-f", file} }},
		{"compose", "/usr/sbin/haproxy", func(listen string) string {
			text := read(t, "deploy", "compose", "haproxy.cfg")
			text = strings.NewReplacer(":5000\n    http-request", listen+"\n    http-request", "bind :8405", "bind "+harness.FreeAddress(t), "berth-1:5000", s.Addr, "berth-2:5000", s.Addr,
				" init-addr last,libc,none resolvers docker", "").Replace(text)
			before, rest, ok := strings.Cut(text, "resolvers docker\n")
			_, after, found := strings.Cut(rest, "\n\n")
			if !ok || !found {
				t.Fatal("haproxy.cfg has no resolvers")
			}
			return before + after
		}, func(file, _ string) []string { return []string{"-db", "-f", file} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			listen := harness.FreeAddress(t)
			dir := t.TempDir()
			file := filepath.Join(dir, "balancer.conf")
			if err := os.WriteFile(file, []byte(c.config(listen)), 0o644); err != nil {
				t.Fatal(err)
			}
			run(t, dir, c.program, c.args(file, dir)...)
			until(t, c.name+" listening", func() (bool, string) {
				conn, err := net.Dial("tcp", listen)
				if err != nil {
					return false, err.Error()
				}
				return conn.Close() == nil, ""
			})
			_, port, _ := net.SplitHostPort(listen)
			host := "localhost:" + port
			b := harness.NewBox(t, "crane", "aws")
			// The signature of the AWS CLI covers the host that it was given.
			b.With("AWS_ACCESS_KEY_ID="+s.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+s.SecretAccessKey, "AWS_REGION="+s.Region)
			password := b.Run("aws", "--endpoint-url", "http://"+host, "ecr", "get-login-password")
			b.Feed(password, "crane", "auth", "login", "--username", "AWS", "--password-stdin", host)
			layer := harness.Tar(t, "file", harness.Random(1, 40<<20)) // more than any buffer, and than nginx lets through by itself
			b.Run("crane", "append", "--new_layer", b.Write("layer.tar", layer), "--new_tag", host+"/"+c.name+":v1")
			b.Run("crane", "pull", host+"/"+c.name+":v1", b.Path("image.tar"))
			b.Run("crane", "validate", "--remote", host+"/"+c.name+":v1")
			s.Registry(t).Verify(t, c.name, "v1")
		})
	}
}

// run starts a program that ends with the test.
func run(t *testing.T, dir, program string, args ...string) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Dir = dir
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: %v; run scripts/install-test-deps.sh", program, err)
	}
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait() // it was interrupted
		if t.Failed() {
			t.Logf("%s said\n%s", program, out.String())
		}
	})
}
