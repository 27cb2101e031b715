package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/test/contract/harness"
)

// maxExposure is how open to the machine the service may be, in tenths of
// systemd's own measure, which calls everything above 50 medium or worse.
const maxExposure = "20"

// TestSystemd lets systemd itself verify the unit and measure what it leaves open.
func TestSystemd(t *testing.T) {
	text := read(t, "deploy", "systemd", "berth.service")
	const command = "ExecStart=/usr/local/bin/berth serve\n"
	if strings.Count(text, command) != 1 {
		t.Fatalf("the unit has no line %s", command)
	}
	dir := t.TempDir()
	unit := filepath.Join(dir, "berth.service")
	// The program has to be there for systemd.
	text = strings.Replace(text, command, "ExecStart="+harness.Binary(t)+" serve\n", 1)
	if err := os.WriteFile(unit, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"verify", "--man=no", unit},
		{"security", "--offline=yes", "--no-pager", "--threshold=" + maxExposure, unit},
	} {
		cmd := exec.CommandContext(t.Context(), "/usr/bin/systemd-analyze", args...)
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=" + dir}
		out, err := cmd.CombinedOutput()
		// Whatever verify says about this unit is a complaint.
		if err != nil || args[0] == "verify" && strings.Contains(string(out), "berth.service") {
			t.Errorf("systemd-analyze %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}

	stop := regexp.MustCompile(`(?m)^TimeoutStopSec=(\S+)$`).FindStringSubmatch(text)
	if stop == nil {
		t.Fatal("no TimeoutStopSec")
	}
	if wait, err := time.ParseDuration(stop[1]); err != nil || wait <= time.Duration(config.Default().DrainTimeout) {
		t.Errorf("systemd waits %s, and the server up to %s for its requests", stop[1], time.Duration(config.Default().DrainTimeout))
	}
	known := variables(t)
	for _, m := range regexp.MustCompile(`BERTH_[A-Z_]+`).FindAllString(text, -1) {
		if !known[m] {
			t.Errorf("%s is no variable of Berth's", m)
		}
	}
	user := regexp.MustCompile(`(?m)^u (\S+) `).FindStringSubmatch(read(t, "deploy", "systemd", "sysusers.conf"))
	if user == nil || !strings.Contains(text, "\nUser="+user[1]+"\n") {
		t.Errorf("the unit's user is not the one that sysusers.conf makes: %v", user)
	}
}
