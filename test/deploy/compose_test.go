package deploy

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/test/contract/harness"
)

// variables are the environment variables that Berth knows.
func variables(t *testing.T) map[string]bool {
	t.Helper()
	known := map[string]bool{}
	settings := reflect.TypeFor[config.Settings]()
	for i := range settings.NumField() {
		known[settings.Field(i).Tag.Get("env")] = true
	}
	return known
}

// service is what the compose file may say of one: another key is a mistake, or
// belongs in here with a check.
type service struct {
	Image           string
	Build           map[string]string
	Restart         string
	ReadOnly        bool          `yaml:"read_only"`
	CapDrop         []string      `yaml:"cap_drop"`
	SecurityOpt     []string      `yaml:"security_opt"`
	StopGracePeriod time.Duration `yaml:"stop_grace_period"`
	EnvFile         []string      `yaml:"env_file"`
	Environment     map[string]string
	Secrets         []string
	DependsOn       map[string]struct{ Condition string } `yaml:"depends_on"`
	Healthcheck     struct {
		Test        []string
		Interval    time.Duration
		Timeout     time.Duration
		Retries     int
		StartPeriod time.Duration `yaml:"start_period"`
	}
	Volumes    []string
	Ports      []string
	ShmSize    string `yaml:"shm_size"`
	Command    []string
	Entrypoint []string
}

type composition struct {
	Name     string
	Base     any `yaml:"x-berth"`
	Services map[string]service
	Networks map[string]struct {
		IPAM struct {
			Config []struct{ Subnet netip.Prefix }
		}
	}
	Secrets map[string]struct{ File string }
	Volumes map[string]any
}

func compose(t *testing.T) composition {
	t.Helper()
	var c composition
	d := yaml.NewDecoder(strings.NewReader(read(t, "deploy", "compose", "compose.yaml")))
	d.KnownFields(true)
	if err := d.Decode(&c); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCompose checks the facts that the file stands on.
func TestCompose(t *testing.T) {
	c := compose(t)
	known := variables(t)
	for name, s := range c.Services {
		if s.Image != "berth:local" && !regexp.MustCompile(`^[a-z0-9./-]+:v?\d+\.\d+(\.\d+)?(-[a-z]+)?$`).MatchString(s.Image) {
			t.Errorf("%s: the image %s is not pinned to a version", name, s.Image)
		}
		if name != "bucket" && (s.Restart != "unless-stopped" || len(s.Healthcheck.Test) < 2 || s.Healthcheck.Test[0] != "CMD" || s.Healthcheck.Timeout == 0) {
			t.Errorf("%s: restarts %q with the health check %+v", name, s.Restart, s.Healthcheck)
		}
		for key, value := range s.Environment {
			if strings.HasPrefix(key, "BERTH_") && !known[key] {
				t.Errorf("%s: %s is no variable of Berth's", name, key)
			}
			if regexp.MustCompile(`(?i)password|secret|key`).MatchString(key) && !strings.HasPrefix(value, "/run/secrets/") {
				t.Errorf("%s: %s stands in clear text", name, key)
			}
		}
		for on, how := range s.DependsOn {
			other, ok := c.Services[on]
			if !ok || how.Condition == "service_healthy" && len(other.Healthcheck.Test) == 0 ||
				!slices.Contains([]string{"service_healthy", "service_completed_successfully"}, how.Condition) {
				t.Errorf("%s waits for %s in the way %q, which cannot be", name, on, how.Condition)
			}
		}
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if local, ok := strings.CutPrefix(from, "./"); ok {
				read(t, "deploy", "compose", local)
			} else if _, ok := c.Volumes[from]; !ok {
				t.Errorf("%s: there is no volume %s", name, from)
			}
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s: the port %s is open to the network, and nothing is encrypted", name, p)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(harness.Root(t), "deploy/compose", c.Services["berth-1"].Build["context"], c.Services["berth-1"].Build["dockerfile"])); err != nil {
		t.Error(err)
	}

	nodes := 0
	volumes := map[string]bool{}
	proxy := read(t, "deploy", "compose", "haproxy.cfg")
	for name, s := range c.Services {
		if s.Image != "berth:local" {
			continue
		}
		nodes++
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s has rights that it does not need", name)
		}
		if s.StopGracePeriod <= time.Duration(config.Default().DrainTimeout) {
			t.Errorf("%s is killed after %s, before it has drained", name, s.StopGracePeriod)
		}
		if !slices.Equal(s.Healthcheck.Test, []string{"CMD", "/berth", "healthcheck"}) {
			t.Errorf("%s: the health check is %v", name, s.Healthcheck.Test)
		}
		for _, v := range s.Volumes {
			if from, ok := strings.CutSuffix(v, ":/var/lib/berth"); ok {
				if volumes[from] {
					t.Errorf("%s shares its data directory %s", name, from)
				}
				volumes[from] = true
			}
		}
		if !strings.Contains(proxy, "server "+name+" "+name+s.Environment["BERTH_LISTEN"]+" ") {
			t.Errorf("haproxy.cfg does not lead to %s at %s", name, s.Environment["BERTH_LISTEN"])
		}
	}
	if nodes < 2 || len(volumes) != nodes {
		t.Errorf("%d nodes with %d data directories", nodes, len(volumes))
	}
}

// TestComposeSecrets makes the secrets and loads what a node is given: compose.yaml's
// environment, the secret one, and the file.
func TestComposeSecrets(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secrets")
	script := filepath.Join(harness.Root(t), "deploy", "compose", "prepare.sh")
	first := map[string]string{}
	for round := range 2 {
		if out, err := exec.CommandContext(t.Context(), "bash", script, dir).CombinedOutput(); err != nil {
			t.Fatalf("prepare.sh: %v\n%s", err, out)
		}
		for _, file := range []string{"postgres_password", "s3.env", "berth.env"} {
			path := filepath.Join(dir, file)
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != 0o600 {
				t.Errorf("%s has the mode %o", file, info.Mode().Perm())
			}
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if round == 0 {
				first[file] = string(content)
			} else if first[file] != string(content) {
				t.Errorf("the second run changed %s", file)
			}
		}
	}
	c := compose(t)
	env := map[string]string{}
	for line := range strings.Lines(first["berth.env"]) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		env[key] = value
	}
	for key, value := range c.Services["berth-1"].Environment {
		env[key] = value
	}
	known := variables(t)
	var s config.Settings
	settings := reflect.ValueOf(&s).Elem()
	for i := range settings.NumField() {
		value, ok := env[settings.Type().Field(i).Tag.Get("env")]
		if !ok {
			continue
		}
		switch f := settings.Field(i); f.Interface().(type) {
		case string:
			f.SetString(value)
		case *string:
			f.Set(reflect.ValueOf(&value))
		case *bool:
			on, err := strconv.ParseBool(value)
			if err != nil {
				t.Fatal(err)
			}
			f.Set(reflect.ValueOf(&on))
		default:
			t.Fatalf("this test cannot set %s", settings.Type().Field(i).Name)
		}
	}
	for key := range env {
		if strings.HasPrefix(key, "BERTH_") && !known[key] {
			t.Errorf("%s is no variable of Berth's", key)
		}
	}
	s.Config = filepath.Join(harness.Root(t), "deploy", "compose", "berth.yaml")
	cfg, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	if !cfg.Database.Postgres() || !cfg.Blobs.Remote() || len(cfg.MasterKey) == 0 || cfg.RootAccessKeyID == "" || cfg.AdminListen == "" {
		t.Errorf("the nodes are not of the scale-out shape: %+v", cfg.Database)
	}
	if !strings.Contains(env["BERTH_DATABASE"], first["postgres_password"]) || env["AWS_SECRET_ACCESS_KEY"] == "" || !strings.Contains(first["s3.env"], env["AWS_SECRET_ACCESS_KEY"]) {
		t.Error("the nodes' passwords are not those of the database and the bucket")
	}
	if network := c.Networks["default"].IPAM.Config; len(network) != 1 || !slices.Contains(cfg.TrustedProxies, network[0].Subnet.String()) {
		t.Errorf("the proxy's network %v is not trusted: %v", network, cfg.TrustedProxies)
	}
}
