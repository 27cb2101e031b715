package scan

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/scan/finding"
	"github.com/berth-registry/berth/internal/domain/scan/rules"
	"github.com/berth-registry/berth/internal/domain/scan/worker"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

func TestBasicOnPush(t *testing.T) {
	onEngines(t, func(w *world) {
		w.scanner.set(map[string]advice{"perl 1": {"CVE-2026-0001", "2", finding.High}, "curl 1": {"CVE-2026-0002", "", finding.Low}, "app/x 1": {"CVE-2026-0003", "", finding.Low}})
		r := w.repo("prod/web", true)
		d := w.push(r, "v1", holds("perl 1", "zlib 3"), holds("curl 1", "perl 1"))
		p := w.page(r, d)
		if p.Status != InProgress || p.Type != rules.Basic || !p.CompletedAt.IsZero() {
			t.Errorf("before: %+v", p)
		}
		w.settle()
		p = w.page(r, d)
		if p.Status != Complete || p.Description != "The scan was completed successfully." || len(p.Basic) != 2 || p.Basic[0].Name != "CVE-2026-0001" && p.Basic[1].Name != "CVE-2026-0001" {
			t.Errorf("after: %+v", p)
		}
		if p.Counts[finding.High] != 1 || p.Counts[finding.Low] != 1 || len(p.Counts) != 2 || !p.SourceUpdatedAt.Equal(madeAt("a")) || p.CompletedAt.IsZero() {
			t.Errorf("counts: %+v", p.Summary)
		}
		heard := w.heard(event.ImageScanned)
		if len(heard) != 1 {
			t.Fatalf("events: %v", heard)
		}
		if e := heard[0].Detail.(event.ScanDetail); e.Status != "COMPLETE" || e.Digest != d || len(e.Tags) != 1 || e.Counts["HIGH"] != 1 {
			t.Errorf("event: %+v", e)
		}
		if n := w.scanner.read; n != 2 {
			t.Errorf("%d layers were read", n)
		}
		// The summary of DescribeImages, and a page of one.
		all, err := w.Summaries(w.ctx, r, []image.Detail{w.described(r, d), {ID: 1, Digest: name.SHA256([]byte("other"))}})
		w.must(err)
		if s, ok := all[d]; len(all) != 1 || !ok || s.Status != Complete || s.Counts[finding.Low] != 1 {
			t.Errorf("summaries: %+v", all)
		}
		one, err := w.Findings(w.ctx, r, image.Ref{Tag: "v1"}, 0, 1)
		w.must(err)
		two, err := w.Findings(w.ctx, r, image.Ref{Tag: "v1"}, one.Next, 1)
		w.must(err)
		if len(one.Basic) != 1 || len(two.Basic) != 1 || one.Basic[0].Name == two.Basic[0].Name || one.Next != 1 || two.Next != 0 || one.Tag != "v1" || one.Digest != d {
			t.Errorf("pages: %+v %+v", one, two)
		}
		// The same layers elsewhere are not read again, whatever the repository's key sealed.
		other := w.repo("prod/api", true)
		w.push(other, "v1", holds("perl 1", "zlib 3"))
		w.settle()
		if n := w.scanner.read; n != 2 {
			t.Errorf("%d layers were read, after a push of one that is known", n)
		}
		if w.count(`SELECT count(*) FROM scan_layer`) != 3 {
			t.Error("the inventory was not kept for the other repository")
		}
		// Without the flag nothing is scanned.
		quiet := w.repo("dev/web", false)
		d = w.push(quiet, "v1", holds("perl 1"))
		w.settle()
		_, err = w.Findings(w.ctx, quiet, image.Ref{Digest: d, Tag: "v1"}, 0, 10)
		w.refused("never scanned", err, errs.ScanNotFound)
		if want := "Image scan does not exist for the image with '{imageDigest:'" + string(d) + "', imageTag:'v1'}' in the repository with name 'dev/web' in the registry with id '123456789012'"; err == nil || err.Error() != want {
			t.Errorf("%v", err)
		}
		_, err = w.Findings(w.ctx, quiet, image.Ref{Tag: "none"}, 0, 10)
		w.refused("no image", err, errs.ImageNotFound)
		// A rule scans what the flag does not.
		w.configure(rules.Basic, rule(rules.OnPush, "dev*"))
		d = w.push(quiet, "v2", holds("perl 1", "a 1"))
		w.settle()
		if p := w.page(quiet, d); p.Status != Complete {
			t.Errorf("by a rule: %+v", p)
		}
	})
}

func TestStart(t *testing.T) {
	onEngines(t, func(w *world) {
		w.build(Config{Daily: 3})
		r := w.repo("web", false)
		d := w.push(r, "v1", holds("perl 1"))
		got, err := w.Start(w.ctx, r, image.Ref{Tag: "v1"})
		w.must(err)
		if got.Status != InProgress || got.Digest != d || got.Tag != "v1" {
			t.Errorf("%+v", got)
		}
		_, err = w.Start(w.ctx, r, image.Ref{Tag: "v1"})
		w.refused("while it runs", err, errs.LimitExceeded)
		w.settle()
		w.clk.Advance(Again - time.Hour)
		_, err = w.Start(w.ctx, r, image.Ref{Digest: d})
		w.refused("within 24 hours", err, errs.LimitExceeded)
		if err == nil || err.Error() != "The scan quota per image has been exceeded. Wait and try again." {
			t.Errorf("%v", err)
		}
		w.clk.Advance(2 * time.Hour)
		w.scanner.set(map[string]advice{"perl 1": {"CVE-2026-0001", "2", finding.High}})
		_, err = w.Start(w.ctx, r, image.Ref{Digest: d})
		w.must(err)
		if p := w.page(r, d); p.Status != InProgress || p.CompletedAt.IsZero() {
			t.Errorf("the last completed result while another scan runs: %+v", p.Summary)
		}
		w.settle()
		if p := w.page(r, d); p.Status != Complete || len(p.Basic) != 1 || w.scanner.read != 1 {
			t.Errorf("again: %+v, %d layers read", p, w.scanner.read)
		}
		_, err = w.Start(w.ctx, r, image.Ref{Tag: "v9"})
		w.refused("no image", err, errs.ImageNotFound)
		// An index and an artifact.
		index, _ := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": manifest.OCIIndex, "manifests": []any{map[string]any{"mediaType": manifest.OCIImage, "digest": d, "size": 1}}})
		_, _, err = w.images.Put(w.ctx, r, image.Put{Manifest: index, MediaType: manifest.OCIIndex, Tag: "multi"})
		w.must(err)
		_, err = w.Start(w.ctx, r, image.Ref{Tag: "multi"})
		w.refused("an index", err, errs.ImageTypeUnsupported)
		chart, _ := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": manifest.OCIImage, "config": map[string]any{"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": w.blob(r, []byte("{}")), "size": 2}, "layers": []any{}})
		_, _, err = w.images.Put(w.ctx, r, image.Put{Manifest: chart, MediaType: manifest.OCIImage, Tag: "chart"})
		w.must(err)
		_, err = w.Start(w.ctx, r, image.Ref{Tag: "chart"})
		w.refused("an artifact", err, errs.ImageTypeUnsupported)
		// The registry's scans of the day: the first scan is more than 24 hours ago.
		for i, tag := range []name.Tag{"a", "b", "c"} {
			w.push(r, tag, holds("perl 1", "n "+string(tag)))
			_, err = w.Start(w.ctx, r, image.Ref{Tag: tag})
			if full := i == 2; full != errs.Is(err, errs.LimitExceeded) || !full && err != nil {
				t.Errorf("scan %d of the day: %v", i, err)
			}
		}
		flagged := w.repo("flagged", true)
		d = w.push(flagged, "v1", holds("perl 1"))
		w.settle()
		if p := w.page(flagged, d); p.Status != LimitExceeded {
			t.Errorf("a push beyond the scans of the day: %+v", p.State)
		}
		// An archived image.
		_, err = w.storage.Archive(w.ctx, r, image.Ref{Tag: "a"})
		w.must(err)
		_, err = w.Start(w.ctx, r, image.Ref{Tag: "a"})
		w.refused("an archived image", err, errs.ImageArchived)
	})
}

func TestNoDatabase(t *testing.T) {
	onEngines(t, func(w *world) {
		w.vulndb.now = ""
		r := w.repo("web", true)
		d := w.push(r, "v1", holds("perl 1"))
		w.settle()
		p := w.page(r, d)
		if p.Status != Failed || !strings.HasPrefix(p.Description, "VulnerabilityDatabaseError") || p.Counts != nil || p.Basic != nil {
			t.Errorf("without a database: %+v", p)
		}
		if e := w.heard(event.ImageScanned); len(e) != 0 {
			t.Errorf("events of a scan that is made up for: %v", e)
		}
		w.vulndb.now = "b"
		w.must(w.db.Update(w.ctx, func(tx *sqldb.Tx) error { return w.ChangedTx(w.ctx, tx) }))
		w.settle()
		if p := w.page(r, d); p.Status != Complete || !p.SourceUpdatedAt.Equal(madeAt("b")) {
			t.Errorf("with one: %+v", p)
		}
		// The day of an image that failed so can be used.
		w.exec(`UPDATE scan_image SET waiting = TRUE`)
		if _, err := w.Start(w.ctx, r, image.Ref{Tag: "v1"}); err != nil {
			t.Errorf("after a failure for want of a database: %v", err)
		}
	})
}

func TestFailures(t *testing.T) {
	onEngines(t, func(w *world) {
		r := w.repo("web", true)
		for _, c := range []struct {
			name, want string
			config     string
			layers     [][]byte
			trouble    error
		}{
			{name: "scratch", want: unsupported, config: `{"os":"linux"}`},
			{name: "windows", want: unsupported, config: `{"os":"windows"}`, layers: [][]byte{[]byte("{}")}},
			{name: "no archive", want: "ImageContentError: the layer is no archive", config: `{"os":"linux"}`, layers: [][]byte{[]byte("no json")}},
			{name: "bad configuration", want: "ImageContentError: the image's configuration is not what it should be", config: `{`, layers: [][]byte{[]byte(`{"files":[]}`)}},
			{name: "a crash", want: "ScannerError: the scanner ran out of memory", config: `{"os":"linux","author":"c"}`, layers: [][]byte{[]byte(`{"version":1}`)}, trouble: &worker.Crashed{Reason: "the scanner ran out of memory"}},
			{name: "a fault of ours", want: "InternalError: ", config: `{"os":"linux","author":"d"}`, layers: [][]byte{[]byte(`{"version":1,"size":3}`)}, trouble: errors.New("the store is away")},
		} {
			w.scanner.trouble = c.trouble
			d := w.pushRaw(r, "t", c.config, c.layers...)
			w.settle()
			p := w.page(r, d)
			if p.Status != Failed || !strings.HasPrefix(p.Description, c.want) {
				t.Errorf("%s: %+v", c.name, p.State)
			}
			if e := w.heard(event.ImageScanned); len(e) != 1 || e[0].Detail.(event.ScanDetail).Status != "FAILED" {
				t.Errorf("%s: events %v", c.name, e)
			}
		}
		if n := w.count(`SELECT count(*) FROM job WHERE state = 2`); n != 1 {
			t.Errorf("%d dead jobs; the fault of ours leaves one", n)
		}
		// What the last completed scan found stays when the next one fails.
		w.scanner.trouble = nil
		w.scanner.set(map[string]advice{"perl 1": {"CVE-2026-0001", "2", finding.High}})
		d := w.push(r, "good", holds("perl 1"))
		w.settle()
		w.clk.Advance(Again + time.Hour)
		w.exec(`DELETE FROM scan_layer`)
		w.scanner.trouble = &worker.Crashed{Reason: "x"}
		_, err := w.Start(w.ctx, r, image.Ref{Digest: d})
		w.must(err)
		w.settle()
		if p := w.page(r, d); p.Status != Failed || len(p.Basic) != 1 || p.Counts[finding.High] != 1 {
			t.Errorf("after a failure: %+v", p)
		}
	})
}

func TestEnhanced(t *testing.T) {
	onEngines(t, func(w *world) {
		w.configure(rules.Enhanced, rule(rules.Continuous, "prod"), rule(rules.OnPush, "stage"))
		w.scanner.set(map[string]advice{"perl 1": {"CVE-2026-0001", "2", finding.High}, "curl 1": {"CVE-2026-0002", "", finding.Low}})
		prod, stage, none := w.repo("prod", false), w.repo("stage", false), w.repo("none", true)
		d := w.push(prod, "v1", holds("perl 1", "curl 1"))
		if p := w.page(prod, d); p.Status != Pending || p.Description != "Pending start of the image scan." {
			t.Errorf("before: %+v", p.State)
		}
		ds, dn := w.push(stage, "v1", holds("perl 1")), w.push(none, "v1", holds("perl 1"))
		w.settle()
		p := w.page(prod, d)
		if p.Status != Active || p.Description != "Continuous scan is selected for image." || len(p.Enhanced) != 2 || len(p.Basic) != 0 || p.Type != rules.Enhanced {
			t.Errorf("continuous: %+v", p)
		}
		if p.Enhanced[0].ID != "CVE-2026-0001" || p.Enhanced[0].Status != "ACTIVE" || p.Enhanced[0].Image.Tags[0] != "v1" || p.Enhanced[0].Image.Author != "a" || p.Enhanced[0].FirstObserved.IsZero() {
			t.Errorf("a finding: %+v", p.Enhanced[0])
		}
		if p := w.page(stage, ds); p.Status != Complete {
			t.Errorf("on push: %+v", p.State)
		}
		_, err := w.Findings(w.ctx, none, image.Ref{Digest: dn}, 0, 10)
		w.refused("no rule", err, errs.ScanNotFound)
		_, err = w.Start(w.ctx, none, image.Ref{Digest: dn})
		w.refused("by hand", err, errs.Validation)
		_, err = w.SetScanOnPush(w.ctx, here, "none", false)
		w.refused("the flag", err, errs.Validation)
		if s, err := w.Summaries(w.ctx, prod, []image.Detail{w.described(prod, d)}); err != nil || len(s) != 0 {
			t.Errorf("summaries under enhanced scanning: %v %v", s, err)
		}
		w.mu.Lock()
		kinds := map[event.Kind]int{}
		for _, e := range w.events {
			kinds[e.Kind]++
		}
		w.events = nil
		w.mu.Unlock()
		if kinds[event.ImageScanInitial] != 2 || kinds[event.FindingChanged] != 3 || kinds[event.ImageScanned] != 0 {
			t.Errorf("events: %v", kinds)
		}
		// Another database: one new, one changed, one closed, and nothing read.
		read, first := w.scanner.read, p.Enhanced[0].FirstObserved
		w.clk.Advance(time.Hour)
		w.vulndb.now = "b"
		w.scanner.set(map[string]advice{"perl 1": {"CVE-2026-0001", "3", finding.Critical}, "zlib 1": {"CVE-2026-0009", "", finding.Low}})
		w.must(w.db.Update(w.ctx, func(tx *sqldb.Tx) error { return w.ChangedTx(w.ctx, tx) }))
		w.settle()
		p = w.page(prod, d)
		if len(p.Enhanced) != 1 || p.Enhanced[0].Severity != finding.Critical || !p.Enhanced[0].FirstObserved.Equal(first) || !p.Enhanced[0].Update.After(first) || w.scanner.read != read {
			t.Errorf("after another database: %+v", p.Enhanced)
		}
		if !p.SourceUpdatedAt.Equal(madeAt("b")) || p.Counts[finding.Critical] != 1 || len(p.Counts) != 1 {
			t.Errorf("%+v", p.Summary)
		}
		states := map[string]string{}
		for _, e := range w.heard(event.FindingChanged) {
			f := e.Detail.(finding.Enhanced)
			states[f.ID] = f.Status
		}
		if len(states) != 2 || states["CVE-2026-0001"] != "ACTIVE" || states["CVE-2026-0002"] != "CLOSED" {
			t.Errorf("events: %v", states)
		}
		if p := w.page(stage, ds); !p.SourceUpdatedAt.Equal(madeAt("a")) {
			t.Errorf("scanned on push only, and matched again: %+v", p.Summary)
		}
		// The same database once more changes nothing and tells nobody.
		matched := w.scanner.matched
		w.must(w.db.Update(w.ctx, func(tx *sqldb.Tx) error { return w.ChangedTx(w.ctx, tx) }))
		w.settle()
		if w.scanner.matched != matched || len(w.heard(event.FindingChanged)) != 0 {
			t.Error("the same database was matched again")
		}
		// A scanner that is lost while images are matched anew: the next database mends it.
		w.scanner.losing = &worker.Crashed{Reason: "the scanner was killed"}
		w.vulndb.now = "c"
		w.must(w.db.Update(w.ctx, func(tx *sqldb.Tx) error { return w.ChangedTx(w.ctx, tx) }))
		w.settle()
		if p := w.page(prod, d); p.Status != Failed || len(p.Enhanced) != 1 {
			t.Errorf("a scanner that is lost: %+v", p)
		}
		w.scanner.losing = nil
		w.vulndb.now = "d"
		w.must(w.db.Update(w.ctx, func(tx *sqldb.Tx) error { return w.ChangedTx(w.ctx, tx) }))
		w.settle()
		if p := w.page(prod, d); p.Status != Active || !p.SourceUpdatedAt.Equal(madeAt("d")) {
			t.Errorf("with the next database: %+v", p.Summary)
		}
		// Another type hides the results, and shows them again.
		w.configure(rules.Basic)
		_, err = w.Findings(w.ctx, prod, image.Ref{Digest: d}, 0, 10)
		w.refused("the other type", err, errs.ScanNotFound)
		w.configure(rules.Enhanced, rule(rules.OnPush, "prod"))
		if p := w.page(prod, d); p.Status != Complete || len(p.Enhanced) != 1 {
			t.Errorf("back again: %+v", p)
		}
	})
}

func TestEnhancedComes(t *testing.T) {
	onEngines(t, func(w *world) {
		w.build(Config{Rescan: 30 * 24 * time.Hour})
		prod, dev := w.repo("prod", false), w.repo("dev", false)
		old := w.push(prod, "old", holds("perl 1"))
		w.clk.Advance(15 * 24 * time.Hour)
		young, other := w.push(prod, "young", holds("perl 2")), w.push(dev, "v1", holds("perl 3"))
		w.configure(rules.Enhanced, rule(rules.Continuous, "prod"))
		changes := w.heard(event.ScanFrequencyChanged)
		if len(changes) != 1 {
			t.Fatalf("events: %v", changes)
		}
		if d := changes[0].Detail.(event.FrequencyDetail); len(d.Repositories) != 1 || d.Repositories[0] != (event.FrequencyChange{Repository: "prod", Now: "CONTINUOUS_SCAN", Before: "MANUAL"}) || d.ScanType != "ENHANCED" {
			t.Errorf("%+v", d)
		}
		w.settle()
		if p := w.page(prod, young); p.Status != Active {
			t.Errorf("pushed lately: %+v", p.State)
		}
		_, err := w.Findings(w.ctx, prod, image.Ref{Digest: old}, 0, 10)
		w.refused("pushed long ago", err, errs.ScanNotFound)
		_, err = w.Findings(w.ctx, dev, image.Ref{Digest: other}, 0, 10)
		w.refused("another repository", err, errs.ScanNotFound)
		all, err := w.RepositoryConfigurations(w.ctx, here, []name.Repository{"prod", "gone", "dev"})
		w.must(err)
		if len(all) != 3 || all[0].Applied.Frequency != rules.Continuous || !all[1].Missing || all[2].Applied.Frequency != rules.Manual {
			t.Errorf("%+v", all)
		}
		// Too old for another database.
		w.clk.Advance(31 * 24 * time.Hour)
		w.vulndb.now = "b"
		w.must(w.db.Update(w.ctx, func(tx *sqldb.Tx) error { return w.ChangedTx(w.ctx, tx) }))
		w.settle()
		if p := w.page(prod, young); p.Status != EligibilityExpired || !strings.Contains(p.Description, "30 days") || !p.SourceUpdatedAt.Equal(madeAt("a")) {
			t.Errorf("old: %+v", p.Summary)
		}
	})
}

func TestArchive(t *testing.T) {
	onEngines(t, func(w *world) {
		w.scanner.set(map[string]advice{"perl 1": {"CVE-2026-0001", "2", finding.High}})
		r := w.repo("web", true)
		d := w.push(r, "v1", holds("perl 1"))
		w.settle()
		_, err := w.storage.Archive(w.ctx, r, image.Ref{Digest: d})
		w.must(err)
		if p := w.page(r, d); p.Status != ImageArchived || p.Basic != nil || p.Counts != nil {
			t.Errorf("archived: %+v", p)
		}
		if w.count(`SELECT count(*) FROM scan_image`)+w.count(`SELECT count(*) FROM scan_report`) != 0 {
			t.Error("the results are still there")
		}
		w.clk.Advance(time.Hour)
		_, err = w.storage.Restore(w.ctx, r, image.Ref{Digest: d})
		w.must(err)
		w.settle()
		if p := w.page(r, d); p.Status != Complete || len(p.Basic) != 1 {
			t.Errorf("restored: %+v", p)
		}
	})
}

// TestGone deletes an image, and its repository, while they are scanned.
func TestGone(t *testing.T) {
	onEngines(t, func(w *world) {
		r := w.repo("web", true)
		w.scanner.hold = make(chan struct{})
		d := w.push(r, "v1", holds("perl 1"))
		ctx, cancel := context.WithCancel(w.ctx)
		done := make(chan error, 1)
		go func() { done <- w.queue.Run(ctx) }()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			w.scanner.mu.Lock()
			n := w.scanner.read
			w.scanner.mu.Unlock()
			if n > 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("nothing is read")
			}
		}
		_, _, err := w.images.Delete(w.ctx, r, []image.Ref{{Digest: d}})
		w.must(err)
		close(w.scanner.hold)
		for deadline := time.Now().Add(time.Minute); w.count(`SELECT count(*) FROM job WHERE kind = 'scan.image'`) > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the job does not end")
			}
		}
		cancel()
		w.must(<-done)
		if w.count(`SELECT count(*) FROM scan_image`) != 0 {
			t.Error("there is a scan of an image that is gone")
		}
		if n := w.count(`SELECT count(*) FROM job WHERE state = 2`); n != 0 {
			t.Errorf("%d dead jobs", n)
		}
	})
}

// TestRunsTwice runs a job whose end was lost.
func TestRunsTwice(t *testing.T) {
	onEngines(t, func(w *world) {
		r := w.repo("web", true)
		d := w.push(r, "v1", holds("perl 1"))
		w.settle()
		w.heard(event.ImageScanned)
		id := w.count(`SELECT id FROM image WHERE digest = $1`, string(d))
		w.must(w.db.Update(w.ctx, func(tx *sqldb.Tx) error { return w.enqueue(w.ctx, tx, order{Image: id, Type: rules.Basic}) }))
		matched := w.scanner.matched
		w.settle()
		if e := w.heard(event.ImageScanned); len(e) != 0 || w.scanner.matched != matched {
			t.Errorf("a scan that is done ran again: %v", e)
		}
	})
}
