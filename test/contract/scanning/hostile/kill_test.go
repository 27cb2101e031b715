package hostile

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/berth-registry/berth/test/contract/harness"
)

// slow is a layer that is read for seconds: zeros, with the number somewhere.
func slow(t *testing.T, n int) []byte { return zeros(t, fmt.Sprintf("usr/share/zeros%d", n), 2<<10) }

// kill ends a process of the server's with SIGKILL.
func kill(t *testing.T, s scanner) {
	t.Helper()
	if !s.alive() {
		t.Fatalf("the process %d has ended before", s.pid)
	}
	if err := syscall.Kill(s.pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wait(t, "the end of a process that was killed", func() bool { return !s.alive() })
}

// TestKillWorker kills processes that read a layer, and those that wait for work. It
// costs the image that was read its scan; the next ones are scanned by other processes.
func TestKillWorker(t *testing.T) {
	w := start(t, harness.Options{}, goodDB())
	w.repository(t, "app", true)
	server := w.Pid()
	for round := range 3 {
		dead, next := fmt.Sprintf("dead%d", round), fmt.Sprintf("next%d", round)
		w.mustPush(t, "app", dead, base(t), slow(t, round))
		reader := w.busy(t)
		if r := must(w.scan(t.Context(), "app", dead))(t); r.final() {
			t.Fatalf("the scan has ended before: %s", r)
		}
		kill(t, reader)
		if r := w.ended(t, "app", dead); r.status != "FAILED" || r.description != "ScannerError: the scanner was killed" {
			t.Errorf("the image whose reader was killed: %s", r)
		}
		w.mustPush(t, "app", next, base(t), gzipped(t, archive(t, file("round", next))))
		isGood(t, "the next image", w.ended(t, "app", next))
	}

	// All of them while they have nothing to do.
	idle := scanners(server)
	if roles := roles(idle); !slices.Equal(roles, []string{"match", "read"}) {
		t.Errorf("the server has the processes %q", roles)
	}
	for _, s := range idle {
		kill(t, s)
	}
	w.mustPush(t, "app", "last", base(t), gzipped(t, archive(t, file("round", "last"))))
	isGood(t, "the image after all were killed", w.ended(t, "app", "last"))
	if w.Pid() != server {
		t.Error("the server is another one")
	}
	if left := w.spooled(t); len(left) > 0 {
		t.Errorf("there are %q", left)
	}
	w.MustFsck(t)
}

func roles(all []scanner) (roles []string) {
	for _, s := range all {
		roles = append(roles, s.role)
	}
	slices.Sort(roles)
	return roles
}

// TestKillServer kills the server at several points of scans. After the next start each
// image comes to its end, with one result, and no process of the former server is there.
func TestKillServer(t *testing.T) {
	w := start(t, harness.Options{Config: "scanning: {workers: 2}\n"}, goodDB())
	w.repository(t, "app", true)
	small := 0
	push := func(n int) (tags []string) {
		for range n {
			tag := fmt.Sprintf("v%d", small)
			w.mustPush(t, "app", tag, base(t), gzipped(t, archive(t, file("n", tag))))
			tags, small = append(tags, tag), small+1
		}
		return tags
	}
	some := func(tags []string) {
		wait(t, "the first scan of several to end", func() bool {
			return slices.ContainsFunc(tags, func(tag string) bool { return must(w.scan(t.Context(), "app", tag))(t).final() })
		})
	}
	for round, when := range []string{"right after the push", "while a layer is read", "when one is done", "while layers are read and others are done", "right after the push"} {
		tags := push(6)
		switch round {
		case 1:
			w.mustPush(t, "app", "slow1", base(t), slow(t, 1))
			tags = append(tags, "slow1")
			w.busy(t)
		case 2:
			some(tags)
		case 3:
			w.mustPush(t, "app", "slow3", base(t), slow(t, 3))
			tags = append(tags, push(4)...)
			tags = append(tags, "slow3")
			w.busy(t)
			some(tags)
		}
		former := scanners(w.Pid())
		w.Kill()
		for _, s := range former {
			wait(t, "the end of a process of the server's that was killed", func() bool { return !s.alive() })
		}
		if err := w.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, tag := range tags {
			isGood(t, tag+", "+when, w.ended(t, "app", tag))
		}
		w.MustFsck(t)
		if left := w.spooled(t); len(left) > 0 {
			t.Errorf("%s: there are %q", when, left)
		}
		if dirs := must(filepath.Glob(filepath.Join(w.Data, "scan", "*")))(t); len(dirs) > 1 {
			t.Errorf("%s: there are directories of former servers: %q", when, dirs)
		}
	}
	// One result for each image, in the lists as well.
	pages := ecr.NewDescribeImagesPaginator(w.api, &ecr.DescribeImagesInput{RepositoryName: aws.String("app")})
	seen := 0
	for pages.HasMorePages() {
		for _, i := range must(pages.NextPage(t.Context()))(t).ImageDetails {
			seen++
			if i.ImageScanStatus == nil || i.ImageScanStatus.Status != types.ScanStatusComplete || i.ImageScanFindingsSummary == nil || i.ImageScanFindingsSummary.FindingSeverityCounts["UNDEFINED"] != 1 {
				t.Errorf("%v: %+v %+v", i.ImageTags, i.ImageScanStatus, i.ImageScanFindingsSummary)
			}
		}
	}
	if want := small + 2; seen != want {
		t.Errorf("%d images are listed, %d were pushed", seen, want)
	}
	out, err := w.Command(t.Context(), "jobs", "list", "--kind", "scan.image", "--data", w.Data).CombinedOutput()
	if err != nil || strings.Contains(string(out), "pending") || strings.Contains(string(out), "running") {
		t.Errorf("the jobs, when all is done: %v\n%s", err, out)
	}
}

// TestConfined looks at a process while it reads a layer: it has no secrets and no
// network, and what it may take is bounded.
func TestConfined(t *testing.T) {
	w := start(t, harness.Options{Env: []string{"AWS_SECRET_ACCESS_KEY=a-secret-of-the-server", "BERTH_SOME_SETTING=1", "HTTP_PROXY=http://127.0.0.1:9"}, Args: []string{"--admin-listen", harness.FreeAddress(t)}}, goodDB())
	w.repository(t, "app", true)
	w.mustPush(t, "app", "slow", base(t), zeros(t, "usr/share/zeros", 8<<10))
	reader := w.busy(t)
	look := func(s scanner) {
		dir := fmt.Sprintf("/proc/%d", s.pid)
		// A process locks itself in before anything else, which takes it a moment.
		wait(t, "the "+s.role+" process to lock itself in", func() bool {
			status, err := os.ReadFile(dir + "/status")
			return err != nil || strings.Contains(string(status), "\nSeccomp:\t2\n")
		})
		for variable := range strings.SplitSeq(strings.TrimSuffix(string(must(os.ReadFile(dir+"/environ"))(t)), "\x00"), "\x00") {
			if !strings.HasPrefix(variable, "GOMAXPROCS=") {
				t.Errorf("the %s process has the variable %q", s.role, variable)
			}
		}
		for _, task := range must(filepath.Glob(dir + "/task/*"))(t) {
			status := string(must(os.ReadFile(task + "/status"))(t))
			for _, want := range []string{"\nSeccomp:\t2\n", "\nNoNewPrivs:\t1\n"} {
				if !strings.Contains(status, want) {
					t.Errorf("a thread of the %s process is not confined: want %q in\n%s", s.role, want, status)
				}
			}
		}
		for _, name := range must(filepath.Glob(dir + "/fd/*"))(t) {
			to, err := os.Readlink(name)
			switch {
			case err != nil, strings.HasPrefix(to, "pipe:"), strings.HasPrefix(to, "anon_inode:"), to == "/dev/null":
			case strings.HasPrefix(to, filepath.Join(w.Data, "scan")+"/"):
			case s.role == "match" && strings.HasPrefix(to, filepath.Join(w.Data, "vulndb")+"/"):
			default:
				t.Errorf("the %s process has %s open", s.role, to)
			}
		}
		limits := string(must(os.ReadFile(dir + "/limits"))(t))
		for name, most := range map[string]int64{"Max data size": 2 << 30, "Max file size": 1<<30 + 64<<20, "Max open files": 64, "Max core file size": 0, "Max cpu time": 3600} {
			line := limits[strings.Index(limits, name)+len(name):]
			if n, err := strconv.ParseInt(strings.Fields(line)[0], 10, 64); err != nil || n > most {
				t.Errorf("the %s process: %s is %s, at most %d is allowed", s.role, name, strings.Fields(line)[0], most)
			}
		}
		if nice := stat(s.pid)[statNice]; nice != "10" {
			t.Errorf("the %s process has the nice value %s", s.role, nice)
		}
		if adj := strings.TrimSpace(string(must(os.ReadFile(dir + "/oom_score_adj"))(t))); adj != "1000" {
			t.Errorf("the %s process has the oom_score_adj %s", s.role, adj)
		}
	}
	look(reader)
	if r := must(w.scan(t.Context(), "app", "slow"))(t); r.final() {
		t.Fatalf("the scan has ended before it was looked at: %s", r)
	}
	isGood(t, "the image", w.ended(t, "app", "slow"))
	all := scanners(w.Pid())
	for _, s := range all {
		look(s)
	}
	if got := roles(all); !slices.Equal(got, []string{"match", "read"}) {
		t.Errorf("the server has the processes %q", got)
	}
	if err := w.Stop(t.Context()); err != nil {
		t.Errorf("the server did not end well: %v", err)
	}
	for _, s := range all {
		if s.alive() {
			t.Errorf("the %s process is there after the server has ended", s.role)
		}
	}
	if dirs := must(filepath.Glob(filepath.Join(w.Data, "scan", "*")))(t); len(dirs) > 0 {
		t.Errorf("the server that has ended leaves %q", dirs)
	}
}
