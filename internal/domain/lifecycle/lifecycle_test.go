package lifecycle

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/image/storage"
	"github.com/berth-registry/berth/internal/domain/lifecycle/rules"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func onEngines(t *testing.T, fn func(t *testing.T, w *world)) {
	t.Helper()
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) { fn(t, newWorld(t, db)) })
}

func wantCode(t *testing.T, err error, code errs.Code) {
	t.Helper()
	if !errs.Is(err, code) {
		t.Errorf("got %v, want the code %d", err, code)
	}
}

func TestPolicyIsStoredReplacedAndDeleted(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		_, err := w.Get(ctx, w.app)
		wantCode(t, err, errs.LifecyclePolicyNotFound)
		_, err = w.Delete(ctx, w.app)
		wantCode(t, err, errs.LifecyclePolicyNotFound)
		_, err = w.Put(ctx, w.app, policy(`"selection": {}`))
		wantCode(t, err, errs.InvalidParameter)
		p, err := w.Put(ctx, w.app, policy(untaggedAfter14))
		w.must(err)
		if strings.ContainsAny(p.Text, " \n") || !p.EvaluatedAt.IsZero() {
			t.Errorf("%+v", p)
		}
		w.runs()
		p, err = w.Put(ctx, w.app, policy(keep(3, "v*")))
		w.must(err)
		if p.EvaluatedAt.IsZero() {
			t.Error("a policy that is replaced forgets its last run")
		}
		got, err := w.Get(ctx, w.app)
		w.must(err)
		if got != p || !strings.Contains(got.Text, `"v*"`) {
			t.Errorf("%+v, put %+v", got, p)
		}
		if gone, err := w.Delete(ctx, w.app); err != nil || gone != got {
			t.Errorf("%+v %v", gone, err)
		}
		w.runs() // what was enqueued finds nothing to do
	})
}

func TestRun(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.put(spec{short: "old", days: 20}, spec{short: "new", days: 1}, spec{short: "a", tags: []string{"v1"}, days: 9}, spec{short: "b", tags: []string{"v2", "x"}, days: 8},
			spec{short: "c", tags: []string{"v3"}, days: 7})
		_, err := w.Put(ctx, w.app, policy(keep(1, "v*"), untaggedAfter14))
		w.must(err)
		if n := w.count(`SELECT run_at FROM job WHERE kind = $1`, JobRun); n != w.clk.Now().Add(time.Minute).UnixMicro() {
			t.Errorf("the run is due at %d", n)
		}
		w.runs()
		if got := w.left("old new a b c"); got != "new c" {
			t.Errorf("left: %s", got)
		}
		p, err := w.Get(ctx, w.app)
		w.must(err)
		if !p.EvaluatedAt.Equal(w.clk.Now()) {
			t.Errorf("evaluated at %v, it is %v", p.EvaluatedAt, w.clk.Now())
		}
		all := w.executions(event.PolicyExecuted)
		if len(all) != 1 || len(all[0].Actions) != 3 || len(all[0].Failures) != 0 {
			t.Fatalf("%+v", all)
		}
		b, err := json.Marshal(all[0])
		w.must(err)
		for _, want := range []string{
			`"repositoryName":"app"`, `"lastEvaluatedAt":0`, `"policyVersion":1`, `"tagStatus":"Untagged","tagPrefixList":[],"countType":"Since image pushed","countUnit":"Days","countNumber":14`,
			`"tagPatternList":["v*"],"countType":"Image count more than","countNumber":1`, `"action":"expire"`,
			fmt.Sprintf(`{"lifecycleEventImage":{"digest":"%s","tagStatus":"Tagged","tagList":["v2","x"],"pushedAt":`, digest("b")), `"rulePriority":1`, `"lifecycleEventFailureDetails":[]`,
		} {
			if !strings.Contains(string(b), want) {
				t.Errorf("the record lacks %s: %s", want, b)
			}
		}
		deleted := 0
		for _, e := range w.events {
			if e.Kind == event.ImageDeleted {
				deleted++
			}
		}
		if deleted != 4 { // b has two tags
			t.Errorf("%d events of deletions", deleted)
		}

		// A push has it run again, a repository without a policy is left alone.
		w.put(spec{short: "d", tags: []string{"v4"}})
		w.must(w.db.Update(ctx, func(tx *sqldb.Tx) error {
			return w.Outbox.Record(ctx, tx, event.Event{Registry: testRegistry, Kind: event.ImagePushed, Detail: event.ImageDetail{Repository: "app", Digest: digest("d")}})
		}))
		w.runs()
		if got := w.left("new c d"); got != "new d" {
			t.Errorf("left: %s", got)
		}
	})
}

func TestSweepEvaluatesDaily(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.put(spec{short: "a", days: 13.5})
		_, err := w.Put(ctx, w.app, policy(untaggedAfter14))
		w.must(err)
		w.runs()
		for range 30 { // hours
			w.must(w.sweep(ctx))
			if n := w.count(`SELECT count(*) FROM job WHERE kind = $1`, JobRun); n > 0 {
				break
			}
			w.clk.Advance(time.Hour)
		}
		w.runs()
		if got := w.left("a"); got != "" {
			t.Errorf("left after a day: %s", got)
		}
		p, err := w.Get(ctx, w.app)
		w.must(err)
		if w.clk.Now().Sub(p.EvaluatedAt) > time.Minute {
			t.Errorf("evaluated at %v, it is %v", p.EvaluatedAt, w.clk.Now())
		}
	})
}

func TestIndexKeepsItsChildren(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.put(spec{short: "amd", days: 30}, spec{short: "arm", days: 30}, spec{short: "index", tags: []string{"v1"}, days: 29, children: []string{"amd", "arm"}})
		_, err := w.Put(ctx, w.app, policy(untaggedAfter14))
		w.must(err)
		w.runs()
		if got := w.left("amd arm index"); got != "amd arm index" {
			t.Errorf("left: %s", got)
		}
		all := w.executions(event.PolicyExecuted)
		if len(all) != 1 || len(all[0].Failures) != 2 || all[0].Failures[0].FailureCode != "ImageReferencedByManifestList" ||
			all[0].Failures[0].FailureReason != "Requested image referenced by manifest list: ["+string(digest("index"))+"]" {
			t.Fatalf("%+v", all)
		}
		// Failures are not recorded again with every push.
		w.must(w.db.Update(ctx, func(tx *sqldb.Tx) error { return w.enqueue(ctx, tx, w.app) }))
		w.runs()
		if n := len(w.executions(event.PolicyExecuted)); n != 1 {
			t.Errorf("%d records", n)
		}
		// When the index has gone, its children go with the run that follows.
		if _, _, err := w.Images.Delete(ctx, w.app, []image.Ref{{Tag: "v1"}}); err != nil {
			t.Fatal(err)
		}
		w.runs()
		if got := w.left("amd arm index"); got != "" {
			t.Errorf("left: %s", got)
		}
	})
}

func TestImagesOfAnIndexShareItsFateIfAskedFor(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.set = Options{MultiArch: true}
		w.put(spec{short: "amd", days: 30}, spec{short: "index", tags: []string{"v1"}, days: 29, children: []string{"amd"}}, spec{short: "b", tags: []string{"v2"}})
		_, err := w.Put(ctx, w.app, policy(keep(1, "v*"), untaggedAfter14))
		w.must(err)
		w.must(w.run(ctx, w.task()))
		if got := w.left("amd index b"); got != "b" {
			t.Errorf("left after one run: %s", got)
		}
	})
}

// task is a run of the repository's policy.
func (w *world) task() jobs.Task {
	b, err := json.Marshal(target{Registry: testRegistry, Repository: "app", ID: w.app.ID})
	w.must(err)
	return jobs.Task{Kind: JobRun, Payload: b, Attempt: 1}
}

// What happens between the snapshot and the act is regarded.
func TestWhatChangedMeanwhileIsLeft(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.put(spec{short: "a", days: 30}, spec{short: "b", days: 30}, spec{short: "c", days: 30})
		_, err := w.Put(ctx, w.app, policy(untaggedAfter14))
		w.must(err)
		p, err := w.evaluate(ctx, w.app, nil)
		w.must(err)
		w.exec(`INSERT INTO image_tag (repository_id, tag, image_id, updated_at) SELECT repository_id, 'keep', id, 0 FROM image WHERE digest = $1`, string(digest("a")))
		w.exec(`UPDATE image SET tags = 1 WHERE digest = $1`, string(digest("a")))
		w.exec(`UPDATE image SET activated_at = $2 WHERE digest = $1`, string(digest("b")), w.clk.Now().UnixMicro())
		if done, err := w.act(ctx, w.app, p, p.actions, true); err != nil || done != (outcome{acted: 1}) {
			t.Errorf("%+v %v", done, err)
		}
		if got := w.left("a b c"); got != "a b" {
			t.Errorf("left: %s", got)
		}
		// Another policy ends the run.
		_, err = w.Put(ctx, w.app, policy(keep(5, "v*")))
		w.must(err)
		if _, err := w.act(ctx, w.app, p, p.actions, true); err == nil || err.Error() != errReplaced.Error() {
			t.Errorf("acted by a policy that was replaced: %v", err)
		}
	})
}

func TestTransitionAndWayBack(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.put(spec{short: "a", tags: []string{"v1"}, days: 120}, spec{short: "b", tags: []string{"v2"}, days: 120}, spec{short: "sig", days: 120, subject: "a"})
		w.exec(`INSERT INTO image_pull (image_id, pulled_at) SELECT id, $1 FROM image WHERE digest = $2`, w.clk.Now().Add(-24*time.Hour).UnixMicro(), string(digest("b")))
		_, err := w.Put(ctx, w.app, policy(
			`"selection": {"tagStatus": "any", "countType": "sinceImagePulled", "countUnit": "days", "countNumber": 90}, "action": {"type": "transition", "targetStorageClass": "archive"}`,
			`"selection": {"tagStatus": "any", "storageClass": "archive", "countType": "sinceImageTransitioned", "countUnit": "days", "countNumber": 90}, "action": {"type": "expire"}`))
		w.must(err)
		w.runs()
		if got := w.left("a b sig"); got != "a:ARCHIVED b sig" {
			t.Errorf("left: %s", got)
		}
		w.due(JobReferrers, w.followSubject)
		if got := w.left("a b sig"); got != "a:ARCHIVED b sig:ARCHIVED" {
			t.Errorf("the referrer did not follow: %s", got)
		}
		if _, err := w.Storage.Archive(ctx, w.app, image.Ref{Digest: digest("sig")}); !errs.Is(err, errs.StorageClassRefused) {
			t.Errorf("a referrer was archived by itself: %v", err)
		}
		d, err := w.Storage.Restore(ctx, w.app, image.Ref{Tag: "v1"})
		if err != nil || d.Status != image.Activating {
			t.Fatalf("%+v %v", d, err)
		}
		w.runJobs(storage.Job)
		w.due(JobReferrers, w.followSubject)
		w.runJobs(storage.Job)
		if got := w.left("a b sig"); got != "a b sig" {
			t.Errorf("not restored: %s", got)
		}
		restored := 0
		for _, e := range w.events {
			if d, ok := e.Detail.(event.StorageClassDetail); ok && d.Target == event.StandardClass {
				restored++
				if d.Referrer != (d.Digest == digest("sig")) || d.ActivatedAt.IsZero() {
					t.Errorf("%+v", d)
				}
			}
		}
		if restored != 2 {
			t.Errorf("%d events of restorations", restored)
		}
		// Its age counts from the restoration.
		w.runs()
		if got := w.left("a b sig"); got != "a b sig" {
			t.Errorf("left: %s", got)
		}
		w.clk.Advance(91 * 24 * time.Hour)
		w.must(w.sweep(ctx))
		w.runs()
		w.clk.Advance(91 * 24 * time.Hour)
		w.must(w.sweep(ctx))
		w.runs()
		w.due(JobReferrers, w.followSubject)
		if got := w.left("a b sig"); got != "" {
			t.Errorf("left: %s", got)
		}
	})
}

// runJobs runs the queue until no job of the kind is left.
func (w *world) runJobs(kind string) {
	w.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Jobs.Run(ctx) }()
	for end := time.Now().Add(20 * time.Second); w.count(`SELECT count(*) FROM job WHERE kind = $1`, kind) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("a job of the kind %s did not end", kind)
		}
	}
	stop()
	w.must(<-ended)
}

func TestUntagAndRetain(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		text := policy(
			`"selection": {"tagStatus": "tagged", "tagPatternList": ["prod*"]}, "action": {"type": "retain"}`,
			`"selection": {"tagStatus": "tagged", "tagPatternList": ["ci-*"], "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 7}, "action": {"type": "untag"}`,
			keep(1, "v*"))
		_, err := w.Put(ctx, w.app, text)
		wantCode(t, err, errs.InvalidParameter)
		w.set = Options{Extended: true}
		w.put(spec{short: "a", tags: []string{"ci-1", "x"}, days: 9}, spec{short: "b", tags: []string{"prod-1", "v1"}, days: 9}, spec{short: "c", tags: []string{"v2"}, days: 8},
			spec{short: "d", tags: []string{"v3"}, days: 7}, spec{short: "e", tags: []string{"ci-2"}, days: 1})
		_, err = w.Put(ctx, w.app, text)
		w.must(err)
		w.runs()
		if got := w.left("a b c d e"); got != "a b d e" {
			t.Errorf("left: %s", got)
		}
		tags, _, err := w.Images.Tags(ctx, w.app, "", 10)
		w.must(err)
		if fmt.Sprint(tags) != "[ci-2 prod-1 v1 v3 x]" {
			t.Errorf("tags: %v", tags)
		}
		// Turned off again, the policy does nothing until it is put anew.
		w.set = Options{}
		w.put(spec{short: "f", tags: []string{"v4"}})
		w.must(w.run(ctx, w.task()))
		if got := w.left("d"); got != "d" {
			t.Error("a policy ran whose grammar is off")
		}
	})
}

// A subject that comes back because it is pushed brings its referrers, too.
func TestReferrersComeBackWithAPush(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.put(spec{short: "a", tags: []string{"v1"}}, spec{short: "sig", subject: "a"})
		_, err := w.Storage.Archive(ctx, w.app, image.Ref{Tag: "v1"})
		w.must(err)
		w.due(JobReferrers, w.followSubject)
		if got := w.left("a sig"); got != "a:ARCHIVED sig:ARCHIVED" {
			t.Fatalf("left: %s", got)
		}
		push := func() {
			w.exec(`UPDATE image SET status = 0, activated_at = $2 WHERE digest = $1`, string(digest("a")), w.clk.Now().UnixMicro())
			w.must(w.db.Update(ctx, func(tx *sqldb.Tx) error {
				return w.Outbox.Record(ctx, tx, event.Event{Registry: testRegistry, Kind: event.ImagePushed, Detail: event.ImageDetail{Repository: "app", Digest: digest("a")}})
			}))
		}
		push()
		w.due(JobReferrers, w.followSubject)
		w.runJobs(storage.Job)
		if got := w.left("a sig"); got != "a sig" {
			t.Errorf("left: %s", got)
		}
		push() // nothing to follow
		if n := w.count(`SELECT count(*) FROM job WHERE kind = $1`, JobReferrers); n != 0 {
			t.Errorf("%d jobs", n)
		}
	})
}

func TestReferrersGoWithTheirSubject(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.put(spec{short: "a", tags: []string{"v1"}}, spec{short: "sbom", subject: "a"}, spec{short: "sig", subject: "sbom"}, spec{short: "dangling", subject: "nobody"})
		if _, _, err := w.Images.Delete(ctx, w.app, []image.Ref{{Tag: "v1"}}); err != nil {
			t.Fatal(err)
		}
		if got := w.left("a sbom sig dangling"); got != "sbom sig dangling" {
			t.Errorf("left at once: %s", got)
		}
		w.due(JobReferrers, w.followSubject)
		if got := w.left("a sbom sig dangling"); got != "dangling" {
			t.Errorf("left: %s", got)
		}
		// A subject that is pushed again in time keeps them.
		w.put(spec{short: "a", tags: []string{"v1"}}, spec{short: "sbom", subject: "a"})
		if _, _, err := w.Images.Delete(ctx, w.app, []image.Ref{{Tag: "v1"}}); err != nil {
			t.Fatal(err)
		}
		w.put(spec{short: "a"})
		w.due(JobReferrers, w.followSubject)
		if got := w.left("a sbom"); got != "a sbom" {
			t.Errorf("left: %s", got)
		}
	})
}

func TestPreviewEqualsExecution(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		_, _, _, err := w.Preview(ctx, w.app, PreviewQuery{Limit: 10})
		wantCode(t, err, errs.LifecyclePreviewNotFound)
		_, err = w.StartPreview(ctx, w.app, nil)
		wantCode(t, err, errs.LifecyclePolicyNotFound)
		_, err = w.StartPreview(ctx, w.app, new(`{}`))
		wantCode(t, err, errs.InvalidParameter)

		var specs []spec
		for n := range 1000 {
			s := spec{short: fmt.Sprint("i", n), days: 40 - float64(n)/50}
			if n%3 != 0 {
				s.tags = []string{fmt.Sprintf("v%d", n)}
			}
			specs = append(specs, s)
		}
		w.put(specs...)
		text := "\n" + policy(keep(100, "v*"), untaggedAfter14)
		p, err := w.StartPreview(ctx, w.app, &text)
		if err != nil || p.Status != PreviewInProgress || p.Text != text {
			t.Fatalf("%+v %v", p, err)
		}
		_, err = w.StartPreview(ctx, w.app, &text)
		wantCode(t, err, errs.LifecyclePreviewInProgress)
		w.due(JobPreview, w.preview)

		seen := map[name.Digest]bool{}
		last := time.Time{}
		var after int64
		for pages := 0; ; pages++ {
			p, results, next, err := w.Preview(ctx, w.app, PreviewQuery{After: after, Limit: 100})
			w.must(err)
			if p.Status != PreviewComplete || p.Expiring != 900 || p.Transitioning != 0 || p.Text != text {
				t.Fatalf("%+v", p)
			}
			for _, one := range results {
				if seen[one.Digest] || one.PushedAt.Before(last) || one.Action != rules.Expire {
					t.Fatalf("%+v after %v", one, last)
				}
				seen[one.Digest], last = true, one.PushedAt
			}
			if after = next; next == 0 {
				if pages != 8 {
					t.Errorf("%d pages", pages+1)
				}
				break
			}
		}
		_, tagged, _, err := w.Preview(ctx, w.app, PreviewQuery{TagStatus: image.Tagged, Limit: 1000})
		w.must(err)
		_, named, _, err := w.Preview(ctx, w.app, PreviewQuery{Refs: []image.Ref{{Digest: digest("i0")}, {Tag: "v1"}, {Tag: "v998"}, {Tag: "none"}}})
		w.must(err)
		if len(tagged) != 566 || len(named) != 2 {
			t.Errorf("%d tagged, named %+v", len(tagged), named)
		}
		dry := 0
		for _, e := range w.executions(event.PolicyPreviewed) {
			dry += len(e.Actions)
		}
		if dry != 900 || w.left("i0") != "i0" {
			t.Errorf("%d in records of the preview; left %q", dry, w.left("i0"))
		}

		_, err = w.Put(ctx, w.app, text)
		w.must(err)
		w.must(w.run(ctx, w.task()))
		acted := 0
		for _, e := range w.executions(event.PolicyExecuted) {
			for _, a := range e.Actions {
				acted++
				if !seen[a.Image.Digest] {
					t.Errorf("%s was expired and not in the preview", a.Image.Digest)
				}
			}
			if len(e.Actions) > 9 {
				t.Errorf("%d images in one record", len(e.Actions))
			}
		}
		if acted != 900 || w.count(`SELECT count(*) FROM image`) != 100 {
			t.Errorf("%d expired", acted)
		}

		w.clk.Advance(25 * time.Hour)
		w.must(w.sweep(ctx))
		expired, results, _, err := w.Preview(ctx, w.app, PreviewQuery{Limit: 100})
		if err != nil || expired.Status != PreviewExpired || len(results) != 0 {
			t.Errorf("%+v %d %v", expired, len(results), err)
		}
	})
}

func TestPreviewThatCannotBeMadeFails(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.set = Options{Extended: true}
		_, err := w.StartPreview(ctx, w.app, new(policy(`"selection": {"tagStatus": "any"}, "action": {"type": "retain"}`)))
		w.must(err)
		w.set = Options{}
		w.due(JobPreview, w.preview)
		p, _, _, err := w.Preview(ctx, w.app, PreviewQuery{Limit: 1})
		if err != nil || p.Status != PreviewFailed {
			t.Errorf("%+v %v", p, err)
		}
		_, err = w.StartPreview(ctx, w.app, new(policy(untaggedAfter14)))
		w.must(err)
	})
}
