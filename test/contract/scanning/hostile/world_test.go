package hostile

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/berth-registry/berth/internal/domain/scan/match/matchtest"
	"github.com/berth-registry/berth/test/contract/harness"
)

var big = flag.Bool("big", false, "also a queue of 10,000 images, a larger tar bomb, and a whole debootstrap; it takes minutes")

// limit bounds every wait, for a machine that is busy with other tests.
const limit = 3 * time.Minute

const mib = 1 << 20

func wait(t *testing.T, what string, done func() bool) {
	t.Helper()
	for began := time.Now(); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > limit {
			t.Fatalf("waited %s for %s", limit, what)
		}
	}
}

// must ends the test where its preparation failed.
func must[T any](out T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// world is a server whose images are scanned.
type world struct {
	*harness.Server
	root *harness.Registry // the default registry, for its root user
	api  *ecr.Client
}

// start starts a server with the vulnerability database.
func start(t *testing.T, o harness.Options, db matchtest.DB) *world {
	t.Helper()
	s := harness.Start(t, o)
	w := &world{Server: s, root: s.Registry(t), api: s.ECR()}
	w.take(t, db)
	return w
}

// take has the server use a vulnerability database.
func (w *world) take(t *testing.T, db matchtest.DB) {
	t.Helper()
	dir := t.TempDir()
	if err := matchtest.Write(dir, db); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "db.tar.gz")
	if err := os.WriteFile(file, must(matchtest.Archive(dir))(t), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := w.Command(t.Context(), "vulndb", "import", file, "--data", w.Data).CombinedOutput(); err != nil {
		t.Fatalf("berth vulndb import: %v\n%s", err, out)
	}
}

// repository makes one whose images are scanned when they are pushed, or not.
func (w *world) repository(t *testing.T, name string, scanned bool) {
	t.Helper()
	must(w.api.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{
		RepositoryName: &name, ImageScanningConfiguration: &types.ImageScanningConfiguration{ScanOnPush: scanned},
	}))(t)
}

// enhanced has all repositories scanned so.
func (w *world) enhanced(t *testing.T) {
	t.Helper()
	must(w.api.PutRegistryScanningConfiguration(t.Context(), &ecr.PutRegistryScanningConfigurationInput{
		ScanType: types.ScanTypeEnhanced,
		Rules: []types.RegistryScanningRule{{
			ScanFrequency:     types.ScanFrequencyScanOnPush,
			RepositoryFilters: []types.ScanningRepositoryFilter{{Filter: aws.String("*"), FilterType: types.ScanningRepositoryFilterTypeWildcard}},
		}},
	}))(t)
}

// push pushes an image with the layers, and returns its digest.
func (w *world) push(ctx context.Context, repo, tag string, layers ...[]byte) (string, error) {
	config := fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},"config":{"Labels":{"tag":%q}}}`, tag)
	m := harness.Manifest{
		SchemaVersion: 2, MediaType: harness.OCIImage,
		Config: &harness.Descriptor{MediaType: harness.OCIConfig, Digest: harness.Digest(config), Size: int64(len(config))},
	}
	for _, l := range layers {
		m.Layers = append(m.Layers, harness.Descriptor{MediaType: harness.OCILayer, Digest: harness.Digest(l), Size: int64(len(l))})
	}
	for _, b := range append(slices.Clone(layers), config) {
		if _, err := w.root.PutBlob(ctx, repo, b); err != nil {
			return "", err
		}
	}
	raw, err := manifest(m)
	if err != nil {
		return "", err
	}
	return harness.Digest(raw), w.root.PutManifest(ctx, repo, tag, harness.OCIImage, raw)
}

func (w *world) mustPush(t *testing.T, repo, tag string, layers ...[]byte) string {
	t.Helper()
	return must(w.push(t.Context(), repo, tag, layers...))(t)
}

// result is the state of the last scan of an image, and what it found.
type result struct {
	status, description string
	out                 *ecr.DescribeImageScanFindingsOutput
}

// final says whether nothing more will happen by itself.
func (r result) final() bool {
	return r.status != "" && r.status != "IN_PROGRESS" && r.status != "PENDING"
}

func (r result) String() string { return strings.TrimSpace(r.status + " " + r.description) }

// scan is how the scan of an image stands.
func (w *world) scan(ctx context.Context, repo, tag string) (r result, err error) {
	r.out, err = w.api.DescribeImageScanFindings(ctx, &ecr.DescribeImageScanFindingsInput{
		RepositoryName: &repo, ImageId: &types.ImageIdentifier{ImageTag: &tag}, MaxResults: aws.Int32(1000),
	})
	if _, none := errors.AsType[*types.ScanNotFoundException](err); none {
		return r, nil // a push is noticed a little later
	}
	if err != nil {
		return r, err
	}
	r.status, r.description = string(r.out.ImageScanStatus.Status), aws.ToString(r.out.ImageScanStatus.Description)
	return r, nil
}

// ended waits for the end of the scan of an image.
func (w *world) ended(t *testing.T, repo, tag string) result {
	t.Helper()
	var r result
	wait(t, "the scan of "+repo+":"+tag, func() bool {
		r = must(w.scan(t.Context(), repo, tag))(t)
		return r.final()
	})
	return r
}

// isGood fails unless the scan of the good image has found what is in it.
func isGood(t *testing.T, what string, r result) {
	t.Helper()
	if r.status != "COMPLETE" || len(r.out.ImageScanFindings.Findings) != 1 || aws.ToString(r.out.ImageScanFindings.Findings[0].Name) != "CVE-2024-0001" {
		t.Errorf("%s: %s, want COMPLETE with the one finding", what, r)
	}
}

// scanner is a process that the server has started to read layers or to match.
type scanner struct {
	pid  int
	role string // "read" or "match"
	born string // tells it from a later process of the same number
}

// procField is a field of /proc/PID/status, "" where there is no such process any more.
func procField(pid int, name string) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return ""
	}
	m := regexp.MustCompile(`(?m)^` + name + `:\s*(.*)$`).FindSubmatch(b)
	if m == nil {
		return ""
	}
	return string(m[1])
}

// kilobytes is such a field in bytes.
func kilobytes(pid int, name string) int64 {
	n, err := strconv.ParseInt(strings.TrimSuffix(procField(pid, name), " kB"), 10, 64)
	if err != nil {
		return 0 // the process has ended
	}
	return n << 10
}

// stat are the fields of /proc/PID/stat from the third on, which is stat[0]; nil
// where there is no such process.
func stat(pid int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	return strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
}

// The numbers of fields in stat.
const (
	statParent = 1
	statUser   = 11 // processor time in ticks
	statSystem = 12
	statNice   = 16
	statStart  = 19
)

// processorTime is how many ticks a process has used.
func processorTime(pid int) int {
	s := stat(pid)
	if s == nil {
		return 0
	}
	user, _ := strconv.Atoi(s[statUser]) // the kernel writes numbers
	system, _ := strconv.Atoi(s[statSystem])
	return user + system
}

// scanners are the processes that the server with this number has now.
func scanners(server int) (all []scanner) {
	entries, _ := filepath.Glob("/proc/[0-9]*") // the pattern is good
	for _, e := range entries {
		pid, err := strconv.Atoi(filepath.Base(e))
		if err != nil {
			continue
		}
		s := stat(pid)
		if s == nil || s[statParent] != strconv.Itoa(server) {
			continue
		}
		line, err := os.ReadFile(filepath.Join(e, "cmdline"))
		args := strings.Split(string(line), "\x00")
		if err != nil || len(args) < 3 || args[1] != "scan-worker" {
			continue
		}
		all = append(all, scanner{pid: pid, role: args[2], born: s[statStart]})
	}
	return all
}

// alive says whether the process is there, and not only waits to be noticed.
func (s scanner) alive() bool {
	st := stat(s.pid)
	return st != nil && st[statStart] == s.born && st[0] != "Z" && st[0] != "X"
}

// busy waits for a process that reads a layer: one that has used a tenth of a second since
// it was first seen.
func (w *world) busy(t *testing.T) scanner {
	t.Helper()
	first := map[scanner]int{}
	var found scanner
	wait(t, "a process that reads a layer", func() bool {
		for _, s := range scanners(w.Pid()) {
			if s.role != "read" {
				continue
			}
			now := processorTime(s.pid)
			if before, seen := first[s]; !seen {
				first[s] = now
			} else if now >= before+10 {
				found = s
				return true
			}
		}
		return false
	})
	return found
}

// memory watches how much the server and its processes have held.
type memory struct {
	stop chan struct{}
	all  sync.WaitGroup
	// server and scanner are the most that the server, and any of its processes, held.
	server, scanner int64
}

func (w *world) watch(t *testing.T) *memory {
	m := &memory{stop: make(chan struct{})}
	pid := w.Pid()
	m.all.Go(func() {
		for {
			m.server = max(m.server, kilobytes(pid, "VmHWM"))
			for _, s := range scanners(pid) {
				m.scanner = max(m.scanner, kilobytes(s.pid, "VmHWM"))
			}
			select {
			case <-m.stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	t.Cleanup(m.end)
	return m
}

func (m *memory) end() {
	select {
	case <-m.stop:
	default:
		close(m.stop)
	}
	m.all.Wait()
}

// spooled are the files below the directory that the scanners write to.
func (w *world) spooled(t *testing.T) (files []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(w.Data, "scan"), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // of a process that ends now
		}
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	return files
}
