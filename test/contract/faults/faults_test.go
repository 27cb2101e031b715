package faults

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/blobstore/s3/s3test"
	"github.com/berth-registry/berth/test/contract/harness"
)

// fault is a row of README.md.
type fault struct {
	name, how, saw, kept string
	// produce makes the fault, and ends it once clients have met it.
	produce func(t *testing.T, w *world, l *load)
	// answers are the failures that clients may see, has those that one of them
	// has to see.
	answers, has []string
	// patience is how long clients wait for a push or a pull; 0 is long.
	patience time.Duration
	// elsewhere is the package and the test that produces the fault, for rows
	// that stand here for completeness.
	elsewhere, test string
}

// group is the faults that one server meets, one after another.
type group struct {
	test   string
	env    []string
	faults []fault
	// private says that the database has a server of its own.
	private bool
	// strays says that objects of uploads may be left that no row names.
	strays bool
}

const everything = "all that was acknowledged; `berth fsck` finds nothing"

func groups() []group {
	return []group{
		{test: "TestDatabase", faults: databaseFaults(), private: true, strays: true},
		{test: "TestObjectStorage", faults: storageFaults()},
		{test: "TestAnswersOfObjectStorage", faults: answerFaults()},
		{test: "TestSealedObjects", env: []string{"BERTH_BLOBS_ENCRYPTION=berth"}, faults: sealedFaults()},
		{faults: faultsElsewhere()},
	}
}

func TestDatabase(t *testing.T)               { runGroup(t, "TestDatabase") }
func TestObjectStorage(t *testing.T)          { runGroup(t, "TestObjectStorage") }
func TestAnswersOfObjectStorage(t *testing.T) { runGroup(t, "TestAnswersOfObjectStorage") }
func TestSealedObjects(t *testing.T)          { runGroup(t, "TestSealedObjects") }

func runGroup(t *testing.T, test string) {
	t.Parallel()
	for _, g := range groups() {
		if g.test != test {
			continue
		}
		w := newWorld(t, g.private, g.env...)
		for n, f := range g.faults {
			t.Run(f.name, func(t *testing.T) { w.run(t, n, f) })
		}
		w.whole(t, g.strays)
	}
}

func databaseFaults() []fault {
	return []fault{
		{
			name: "PostgreSQL killed", how: "SIGKILL of all its processes, twice, and a start on its data",
			saw:  "requests wait until it is back; 500 for those whose COMMIT was on the way; uploads that were open are gone: 503 for the request under way, 404 then, and they begin anew",
			kept: "all that was acknowledged; `berth fsck` finds nothing but objects of those uploads, which the comparison of rows and objects removes in time",
			produce: func(t *testing.T, w *world, _ *load) {
				for range 2 {
					w.database.Kill(t)
					w.becomes(t, http.StatusServiceUnavailable)
					w.database.Start(t)
					w.becomes(t, http.StatusOK)
				}
			},
			answers: []string{"push: 500", "push: 503", "push: 404"},
		},
		{
			name: "PostgreSQL restarted", how: "its fast shutdown, and a start",
			saw:  "requests wait until it is back; 500 for those whose COMMIT was on the way",
			kept: everything,
			produce: func(t *testing.T, w *world, _ *load) {
				w.database.Stop(t)
				w.becomes(t, http.StatusServiceUnavailable)
				w.database.Start(t)
				w.becomes(t, http.StatusOK)
			},
			answers: []string{"push: 500", "push: 503"},
		},
		{
			name: "connections to PostgreSQL cut", how: "a proxy ends them all and takes none",
			saw:  "requests wait until there is a way again; 500 for those whose COMMIT was on the way; `/readyz` is 503 meanwhile",
			kept: everything,
			produce: func(t *testing.T, w *world, _ *load) {
				w.line.Down()
				w.becomes(t, http.StatusServiceUnavailable)
				w.line.Up()
				w.becomes(t, http.StatusOK)
			},
			answers: []string{"push: 500", "push: 503"},
		},
		{
			name: "a manifest's COMMIT does not arrive", how: "a proxy ends the connection before it",
			saw:  "500, and the image is not there; the push again is 201",
			kept: everything,
			produce: func(t *testing.T, w *world, l *load) {
				cutCommit(t, w, l, w.line.CutBeforeCommit, http.StatusNotFound)
			},
			answers: []string{"push: 500"},
		},
		{
			name: "the answer to a manifest's COMMIT is lost", how: "a proxy ends the connection behind it",
			saw:  "500, and the image is there; the push again is 201 with the same digest",
			kept: everything,
			produce: func(t *testing.T, w *world, l *load) {
				cutCommit(t, w, l, w.line.CutAfterCommit, http.StatusOK)
			},
			answers: []string{"push: 500"},
		},
	}
}

// insertsImage begins the statement that only the push of a manifest runs.
const insertsImage = "INSERT INTO image ("

// cutCommit ends the connection at the COMMIT of a manifest's push; stands is
// what a GET of the manifest answers after that.
func cutCommit(t *testing.T, w *world, l *load, cut func(of string), stands int) {
	t.Helper()
	ctx := t.Context()
	l.finish() // so that nobody else meets it
	config := []byte(`{"of":"` + t.Name() + `"}`)
	if _, err := l.registry.PutBlob(ctx, l.repo, config); err != nil {
		t.Fatal(err)
	}
	d := harness.Descriptor{MediaType: harness.OCIConfig, Digest: harness.Digest(config), Size: int64(len(config))}
	raw := harness.Manifest{SchemaVersion: 2, MediaType: harness.OCIImage, Config: &d, Layers: []harness.Descriptor{{MediaType: harness.OCILayer, Digest: d.Digest, Size: d.Size}}}.Bytes(t)
	// The statement's text is sent on connections that have not met it.
	cut(insertsImage)
	w.line.Down()
	w.line.Up()
	before := w.line.Cuts()
	err := l.registry.PutManifest(ctx, l.repo, "cut", harness.OCIImage, raw)
	var status *harness.StatusError
	if !errors.As(err, &status) || status.Status != http.StatusInternalServerError || w.line.Cuts() != before+1 {
		t.Fatalf("the push whose commit was cut: %v, after %d cuts", err, w.line.Cuts()-before)
	}
	manifest := harness.Request{Method: http.MethodGet, Path: "/v2/" + l.repo + "/manifests/cut", Accept: harness.EveryManifest()}
	if _, err := l.registry.Do(ctx, manifest, stands); err != nil {
		t.Error(err)
	}
	if err := l.registry.PutManifest(ctx, l.repo, "cut", harness.OCIImage, raw); err != nil {
		t.Errorf("the push again: %v", err)
	}
	w.all[l.repo+":cut"] = harness.Digest(raw)
	l.again(ctx)
}

// until sets rules before the object storage, waits until clients have met them
// often enough, and takes them away.
func until(t *testing.T, w *world, what string, met func() bool, rules ...s3test.Rule) {
	t.Helper()
	w.store.Set(rules...)
	defer w.store.Set()
	eventually(t, what, met)
}

// seen says whether clients have seen each of these so often.
func (l *load) sees(times int, kinds ...string) func() bool {
	return func() bool {
		for _, k := range kinds {
			if l.count(k) < times {
				return false
			}
		}
		return true
	}
}

// inDoubt is what a client meets that goes on with an upload whose object came to be
// while nobody could find out, or whose last bytes came back from S3 as others: the
// upload is over, and it begins anew.
const inDoubt = "push: 404"

func storageFaults() []fault {
	return []fault{
		{
			name: "S3 fails", how: "every request is answered 500 InternalError",
			saw:  "500 after five attempts, which take some seconds for a pull and some 20 for the end of a layer; then as before, and uploads go on, save that one whose object came to be unseen is 404 and begins anew",
			kept: everything,
			produce: func(t *testing.T, w *world, l *load) {
				until(t, w, "clients see failures", l.sees(1, "push: 500", "pull: 500"), s3test.Rule{Do: s3test.InternalError()})
			},
			answers: []string{"push: 500", inDoubt, "pull: 500", "pull: " + brokeOff}, has: []string{"push: 500", "pull: 500"},
		},
		{
			name: "S3 asks for patience for a moment", how: "four requests of each kind are answered 503 SlowDown",
			saw:  "nothing but a pause",
			kept: everything,
			produce: func(t *testing.T, w *world, _ *load) {
				var rules []s3test.Rule
				kinds := []string{"PutObject", "UploadPart", "CreateMultipartUpload", "CompleteMultipartUpload", "GetObject", "HeadObject", "ListParts"}
				for _, op := range kinds {
					rules = append(rules, s3test.Rule{Op: op, Times: 4, Do: s3test.SlowDown()})
				}
				until(t, w, "all are met", func() bool {
					for _, op := range kinds {
						if w.store.Seen(op) < 5 {
							return false
						}
					}
					return true
				}, rules...)
			},
		},
		{
			name: "S3 asks for patience for long", how: "every request is answered 503 SlowDown",
			saw:  "500 after five attempts; then as before",
			kept: everything,
			produce: func(t *testing.T, w *world, l *load) {
				until(t, w, "clients see failures", l.sees(2, "pull: 500"), s3test.Rule{Do: s3test.SlowDown()})
			},
			answers: []string{"push: 500", inDoubt, "pull: 500", "pull: " + brokeOff}, has: []string{"pull: 500"},
		},
		{
			name: "S3 hangs", how: "no request is answered; clients give up after three seconds",
			saw:  "no answer before they give up; who waits longer has 500 after five attempts of a minute each; then as before. Who goes on with the upload in place of a new one has 409 until the server's own request has ended",
			kept: everything,
			produce: func(t *testing.T, w *world, l *load) {
				until(t, w, "clients give up", l.sees(2, "push: "+timeOut, "pull: "+timeOut), s3test.Rule{Do: s3test.Hang()})
			},
			patience: 3 * time.Second,
			answers:  []string{"push: " + timeOut, inDoubt, "pull: " + timeOut}, has: []string{"push: " + timeOut, "pull: " + timeOut},
		},
		{
			name: "S3 is down", how: "every connection is reset",
			saw:  "500 for layers; manifests are served and `/readyz` is 200, since both need the database only; then as before",
			kept: everything,
			produce: func(t *testing.T, w *world, l *load) {
				w.store.Set(s3test.Rule{Do: s3test.Reset()})
				defer w.store.Set()
				eventually(t, "clients see failures", l.sees(2, "pull: 500"))
				if status := w.ready(t); status != http.StatusOK {
					t.Errorf("/readyz answers %d", status)
				}
				l.mu.Lock()
				tags := l.tags
				l.mu.Unlock()
				for _, tag := range tags {
					if _, _, err := l.registry.Manifest(t.Context(), l.repo, tag); err != nil {
						t.Errorf("a manifest without S3: %v", err)
					}
				}
			},
			answers: []string{"push: 500", inDoubt, "pull: 500", "pull: " + brokeOff}, has: []string{"pull: 500"},
		},
	}
}

func answerFaults() []fault {
	return []fault{
		{
			name: "downloads end early", how: "eight answers to GET are cut after 4 KiB",
			saw:  "nothing: the rest is asked for",
			kept: everything,
			produce: func(t *testing.T, w *world, _ *load) {
				until(t, w, "all are met", func() bool { return w.store.Seen("GetObject") >= 40 }, s3test.Rule{Op: "GetObject", Times: 8, Do: s3test.Cut(4 << 10)})
			},
		},
		{
			name: "all downloads end early", how: "every answer to GET is cut after 64 KiB",
			saw:  "a layer of more than nine times that breaks off, and never looks whole",
			kept: everything,
			produce: func(t *testing.T, w *world, l *load) {
				until(t, w, "pulls break off", l.sees(3, "pull: "+brokeOff), s3test.Rule{Op: "GetObject", Do: s3test.Cut(64 << 10)})
			},
			answers: []string{"push: 500", "pull: " + brokeOff}, has: []string{"pull: " + brokeOff},
		},
		{
			name: "downloads hold wrong bytes", how: "a bit of every answer to GET is changed; objects are plain",
			saw:  "200 with the wrong bytes: registry clients compare the digest and refuse them; an upload whose last bytes are read so is given up, 404, and begins anew",
			kept: everything,
			produce: func(t *testing.T, w *world, l *load) {
				until(t, w, "clients meet wrong bytes", l.sees(3, "pull: "+wrongBytes), s3test.Rule{Op: "GetObject", Do: s3test.Flip(20)})
			},
			answers: []string{"push: 500", inDoubt, "pull: " + wrongBytes}, has: []string{"pull: " + wrongBytes},
		},
		{
			name: "answers to CompleteMultipartUpload are lost", how: "all of them, after S3 has carried them out",
			saw:  "nothing but a pause: a HEAD shows what became of it",
			kept: everything, produce: lost("CompleteMultipartUpload", 0),
		},
		{
			name: "answers to PutObject are lost", how: "all of them, after S3 has carried them out",
			saw:  "nothing but a pause: a HEAD shows what became of it",
			kept: everything, produce: lost("PutObject", 0),
		},
		{
			name: "answers to UploadPart are lost", how: "four of them, after S3 has carried them out",
			saw:  "nothing but a pause: the part is sent again",
			kept: everything, produce: lost("UploadPart", 4),
		},
	}
}

// lost has S3 carry out requests whose answers do not arrive, the first times of
// them, 0 all.
func lost(op string, times int) func(*testing.T, *world, *load) {
	return func(t *testing.T, w *world, _ *load) {
		until(t, w, op+" is met", func() bool { return w.store.Seen(op) >= 8 }, s3test.Rule{Op: op, Times: times, Do: s3test.Drop()})
	}
}

func sealedFaults() []fault {
	return []fault{
		{
			name: "downloads hold wrong bytes, sealed", how: "a bit of every answer to GET is changed; `blobs.encryption: berth`",
			saw:  "500, or a download that breaks off; never a wrong byte; an upload whose last bytes are read so is given up, 404, and begins anew",
			kept: everything,
			produce: func(t *testing.T, w *world, l *load) {
				until(t, w, "pulls fail", func() bool { return l.count("pull: 500")+l.count("pull: "+brokeOff) >= 3 },
					s3test.Rule{Op: "GetObject", Do: s3test.Flip(20)})
			},
			answers: []string{"push: 500", inDoubt, "pull: 500", "pull: " + brokeOff},
		},
		{
			name: "downloads end early, sealed", how: "every answer to GET is cut after 64 KiB; `blobs.encryption: berth`",
			saw:  "a layer of more than nine times that breaks off, and never looks whole",
			kept: everything,
			produce: func(t *testing.T, w *world, l *load) {
				until(t, w, "pulls break off", l.sees(3, "pull: "+brokeOff), s3test.Rule{Op: "GetObject", Do: s3test.Cut(64 << 10)})
			},
			answers: []string{"push: 500", "pull: 500", "pull: " + brokeOff}, has: []string{"pull: " + brokeOff},
		},
		{
			name: "answers are lost, sealed", how: "those to CompleteMultipartUpload and PutObject; `blobs.encryption: berth`",
			saw:  "nothing but a pause",
			kept: everything,
			produce: func(t *testing.T, w *world, l *load) {
				lost("CompleteMultipartUpload", 0)(t, w, l)
				lost("PutObject", 0)(t, w, l)
			},
		},
	}
}

func faultsElsewhere() []fault {
	return []fault{
		{
			name: "the clock jumps", how: "a day forward and an hour back, in the midst of an upload, of jobs and of a token's life",
			saw:  "tokens end by the clock; a chunk in whose midst it jumps forward is 503 or taken, and the upload goes on; one that rested for a day is 404",
			kept: "all that is in use", elsewhere: "internal/app", test: "TestClockJumps",
		},
		{
			name: "the disk is full", how: "a small file system is filled to its last byte",
			saw:  "507 that says so; pulls go on; with room again all goes on by itself",
			kept: everything, elsewhere: "test/contract/process", test: "TestFullDisk",
		},
		{
			name: "the disk is full in the midst of an upload", how: "the same, and room again without a restart",
			saw:  "507; the upload goes on where it stood",
			kept: everything, elsewhere: "test/contract/process", test: "TestDiskGetsRoom",
		},
		{
			name: "1,000 slow clients and 10,000 idle connections", how: "headers, calls and layers that come a byte a second",
			saw:  "the slow ones are cut at their limits; pushes and pulls beside them work",
			kept: "memory stays bounded", elsewhere: "test/contract/hosts", test: "TestHeldConnections",
		},
		{
			name: "a node is killed", how: "SIGKILL of one of three nodes behind a balancer, again and again",
			saw:  "502 of the balancer for requests on the way",
			kept: everything + "; unfinished uploads go on", elsewhere: "test/crash", test: "TestNodes",
		},
	}
}

// table is the table of README.md.
func table() string {
	var b strings.Builder
	b.WriteString("| fault | how it is produced | what clients saw | what was kept | test |\n|---|---|---|---|---|\n")
	for _, g := range groups() {
		for _, f := range g.faults {
			test := "`" + g.test + "`"
			if f.elsewhere != "" {
				test = "`" + f.test + "` in `" + f.elsewhere + "`"
			}
			b.WriteString("| " + strings.Join([]string{f.name, f.how, f.saw, f.kept, test}, " | ") + " |\n")
		}
	}
	return b.String()
}

// TestReadmeHasTheTable keeps the table that people read the one that is
// checked, and its rows tests that there are.
func TestReadmeHasTheTable(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), table()) {
		t.Errorf("README.md has another table than the faults. It has to be:\n%s", table())
	}
	for _, f := range faultsElsewhere() {
		files, err := filepath.Glob(filepath.Join("../../..", f.elsewhere, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, file := range files {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			found = found || strings.Contains(string(source), "func "+f.test+"(t *testing.T)")
		}
		if !found {
			t.Errorf("there is no test %s in %s", f.test, f.elsewhere)
		}
	}
}

// again starts the clients again after finish.
func (l *load) again(ctx context.Context) {
	l.stop = make(chan struct{})
	l.seed++
	for i := range clients {
		l.work.Go(func() { l.client(ctx, i) })
	}
}
