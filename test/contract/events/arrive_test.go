package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/berth-registry/berth/internal/domain/scan/match/matchtest"
	"github.com/berth-registry/berth/internal/infra/eventsink/awstest"
	"github.com/berth-registry/berth/internal/infra/eventsink/natstest"
	"github.com/berth-registry/berth/test/contract/harness"
)

const (
	queue = "arn:aws:sqs:us-east-1:000000000000:images.fifo"
	topic = "arn:aws:sns:us-east-1:000000000000:images"
	bus   = "arn:aws:events:us-east-1:999988887777:event-bus/ours"

	ociEmpty = `{"architecture":"amd64","os":"linux"}`
)

// worker changes the images of one repository, one after the other, and notes which
// events these changes are.
type worker struct {
	repo  string
	want  []string
	done  *atomic.Int64
	layer harness.Descriptor
}

// stubborn repeats what fails while the server is away.
func stubborn(ctx context.Context, do func() error) error {
	var err error
	for began := time.Now(); time.Since(began) < patience; time.Sleep(20 * time.Millisecond) {
		if err = do(); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

func (k *worker) image(t *testing.T, tag string) []byte {
	t.Helper()
	config := []byte(ociEmpty)
	return harness.Manifest{
		SchemaVersion: 2, MediaType: harness.OCIImage, Layers: []harness.Descriptor{k.layer},
		Config:      &harness.Descriptor{MediaType: harness.OCIConfig, Digest: harness.Digest(config), Size: int64(len(config))},
		Annotations: map[string]string{"of": k.repo + ":" + tag},
	}.Bytes(t)
}

// prepare pushes the layer that all images have.
func (k *worker) prepare(t *testing.T, r *harness.Registry) {
	t.Helper()
	layer := harness.Random(7, 1000)
	for _, b := range [][]byte{layer, []byte(ociEmpty)} {
		must(r.PutBlob(t.Context(), k.repo, b))(t)
	}
	k.layer = harness.Descriptor{MediaType: harness.OCILayer, Digest: harness.Digest(layer), Size: int64(len(layer))}
}

// push pushes images, and with remove deletes every third one after the next.
func (k *worker) push(t *testing.T, r *harness.Registry, api *ecr.Client, n int, remove bool) error {
	t.Helper()
	for i := range n {
		tag := fmt.Sprintf("v%02d", i)
		raw := k.image(t, tag)
		if err := stubborn(t.Context(), func() error { return r.PutManifest(t.Context(), k.repo, tag, harness.OCIImage, raw) }); err != nil {
			return err
		}
		k.want = append(k.want, "PUSH "+tag)
		k.done.Add(1)
		if !remove || i%3 != 2 {
			continue
		}
		gone := fmt.Sprintf("v%02d", i-1)
		in := &ecr.BatchDeleteImageInput{RepositoryName: &k.repo, ImageIds: []types.ImageIdentifier{{ImageTag: &gone}}}
		if err := stubborn(t.Context(), func() error {
			out, err := api.BatchDeleteImage(t.Context(), in)
			if err == nil && len(out.Failures) > 0 && out.Failures[0].FailureCode != types.ImageFailureCodeImageNotFound { // it was deleted by the try before
				err = errors.New(aws.ToString(out.Failures[0].FailureReason))
			}
			return err
		}); err != nil {
			return err
		}
		k.want = append(k.want, "DELETE "+gone)
		k.done.Add(1)
	}
	return nil
}

// pushScanned pushes the image of Debian whose thirteen vulnerabilities are in a database.
func pushScanned(t *testing.T, r *harness.Registry, repo string) {
	t.Helper()
	layout := must(matchtest.PerlImage())(t)
	index := decode[harness.Manifest](t, string(must(fs.ReadFile(layout, "index.json"))(t)))
	blob := func(digest string) []byte {
		return must(fs.ReadFile(layout, "blobs/sha256/"+digest[len("sha256:"):]))(t)
	}
	raw := blob(index.Manifests[0].Digest)
	m := decode[harness.Manifest](t, string(raw))
	for _, d := range append(m.Layers, *m.Config) {
		must(r.PutBlob(t.Context(), repo, blob(d.Digest)))(t)
	}
	r.PushManifest(t, repo, "v1", index.Manifests[0].MediaType, raw)
}

// TestArrival: pushes, deletions, expiry, a scan and replication are told to everything
// that a target can be, while the server is killed and the targets are away.
func TestArrival(t *testing.T) {
	t.Parallel()
	w := start(t, harness.Options{Config: "regions: [us-east-1, us-west-2]\nlifecycle_delay: 100ms\nquota: {rates: off}\nevents: {allow_private: true}\n"})
	api, registry := w.ECR(), w.Registry(t)

	t.Log("the targets")
	hooks := newHook(t, func(n int, _ happened) int {
		if n%13 == 0 { // it has the event and says that it has not
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	cloud := awstest.Start(t, queue, topic, bus)
	stream := natstest.Start(t, "")
	connection := must(nats.Connect("nats://"+stream.Address, nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond)))(t)
	t.Cleanup(connection.Close)
	js := must(jetstream.New(connection))(t)
	events := must(js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "berth", Subjects: []string{"berth.>"}}))(t)
	key := []string{"--endpoint", cloud.URL(), "--access-key-id", awstest.AccessKeyID, "--secret-access-key-file", secret(t, awstest.SecretAccessKey)}
	arns := []string{
		hooks.destination(w, "hook"),
		w.destination(t, "file", "log", "--path", "log.jsonl"),
		w.destination(t, "nats", "stream", "--url", "nats://"+stream.Address, "--jetstream"),
		w.destination(t, append([]string{"sqs", "queue", queue}, key...)...),
		w.destination(t, append([]string{"sns", "topic", topic}, key...)...),
		w.destination(t, append([]string{"eventbridge", "bus", bus, "--id-member", "berth-id"}, key...)...),
	}
	told := w.destination(t, "file", "told", "--path", "told.jsonl")
	west := w.destination(t, "file", "west", "--path", "west.jsonl", "--region", "us-west-2")
	script := `aws events put-rule --name everything --event-pattern '{"source": ["aws.ecr"]}' >/dev/null
aws events put-rule --name again --event-pattern '{"source": [{"prefix": "aws."}]}' >/dev/null
aws events put-rule --region us-west-2 --name replicated --event-pattern '{"detail-type": ["ECR Replication Action"]}' >/dev/null
aws events put-targets --rule everything --targets`
	for i, arn := range arns[:5] {
		script += fmt.Sprintf(" Id=%d,Arn=%s", i, arn)
	}
	// What users write: an input transformer as the guide for EventBridge has it.
	transformer := fmt.Sprintf(`[{"Id": "told", "Arn": %q, "InputTransformer": {"InputPathsMap": {"repo": "$.detail.repository-name", "tag": "$.detail.image-tag", "what": "$.detail.action-type"}, "InputTemplate": "\"<what> of <repo>:<tag>\""}}]`, told)
	script += "\naws events put-targets --rule again --targets Id=bus,Arn=" + arns[5] + "\naws events put-targets --rule again --targets '" + transformer + "'"
	script += "\naws events put-targets --region us-west-2 --rule replicated --targets Id=west,Arn=" + west + "\n"
	for d := json.NewDecoder(strings.NewReader(w.cli(script))); d.More(); {
		var out struct{ FailedEntryCount int }
		if err := d.Decode(&out); err != nil || out.FailedEntryCount != 0 {
			t.Fatalf("put-targets: %+v %v", out, err)
		}
	}

	t.Log("the repositories")
	archive := filepath.Join(t.TempDir(), "db.tar.gz")
	db := must(matchtest.PerlDB())(t)
	db.UpdatedAt = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	if err := matchtest.Write(dir, db); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(archive, must(matchtest.Archive(dir))(t), 0o600); err != nil {
		t.Fatal(err)
	}
	w.berth(t, "vulndb", "import", archive)
	must(api.PutReplicationConfiguration(t.Context(), &ecr.PutReplicationConfigurationInput{ReplicationConfiguration: &types.ReplicationConfiguration{Rules: []types.ReplicationRule{{
		Destinations:      []types.ReplicationDestination{{Region: aws.String("us-west-2"), RegistryId: &w.Account}},
		RepositoryFilters: []types.RepositoryFilter{{Filter: aws.String("copied/"), FilterType: types.RepositoryFilterTypePrefixMatch}},
	}}}}))(t)
	var done atomic.Int64
	var workers []*worker
	for _, repo := range []string{"team/a", "team/b", "team/c", "copied/app", "old/app"} {
		k := &worker{repo: repo, done: &done}
		w.CreateRepository(t, repo)
		k.prepare(t, registry)
		workers = append(workers, k)
	}
	must(api.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: aws.String("scanned"), ImageScanningConfiguration: &types.ImageScanningConfiguration{ScanOnPush: true}}))(t)
	pushScanned(t, registry, "scanned")

	t.Log("changes, kills and targets that are away")
	var wg sync.WaitGroup
	failed := make([]error, len(workers))
	for i, k := range workers {
		n := 24
		if k.repo == "old/app" || k.repo == "copied/app" {
			n = 6
		}
		wg.Go(func() { failed[i] = k.push(t, registry, api, n, k.repo[:4] == "team") })
	}
	kill := func(after int64, meanwhile func()) {
		t.Helper()
		wait(t, fmt.Sprintf("%d changes", after), func() bool { return done.Load() >= after })
		w.Kill()
		meanwhile()
		if err := w.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	kill(15, hooks.Down)
	kill(45, func() { hooks.Up(); cloud.Down() })
	kill(70, func() { cloud.Up(); stream.Down() })
	wg.Wait()
	if err := errors.Join(failed...); err != nil {
		t.Fatal(err)
	}
	policy := `{"rules": [{"rulePriority": 1, "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 2}, "action": {"type": "expire"}}]}`
	must(api.PutLifecyclePolicy(t.Context(), &ecr.PutLifecyclePolicyInput{RepositoryName: aws.String("old/app"), LifecyclePolicyText: &policy}))(t)
	kill(0, stream.Up) // while it expires images

	want := map[string][]string{"scanned": {"PUSH v1", "SCAN COMPLETE"}}
	for _, k := range workers {
		want[k.repo] = k.want
	}
	want["old/app"] = append(want["old/app"], "DELETE v00", "DELETE v01", "DELETE v02", "DELETE v03")
	count := 0
	for _, all := range want {
		count += len(all)
	}

	targets := map[string]func() []happened{
		"the webhook": hooks.events,
		"the file":    func() []happened { return filed(t, filepath.Join(w.Data, "events", "log.jsonl")) },
		"NATS":        func() []happened { return streamed(t, events) },
		"the queue":   func() []happened { return taken(t, cloud, queue) },
		"the topic":   func() []happened { return taken(t, cloud, topic) },
		"the bus":     func() []happened { return taken(t, cloud, bus) },
	}
	bodies := map[string]map[string]string{}
	for name, all := range targets {
		var order map[string][]string
		var again int
		wait(t, fmt.Sprintf("%d events at %s", count, name), func() bool {
			order, again = sum(t, all())
			n := 0
			for _, of := range order {
				n += len(of)
			}
			return n >= count
		})
		slices.Sort(order["old/app"][min(6, len(order["old/app"])):]) // no order is promised for what expires together
		if !reflect.DeepEqual(order, want) {
			t.Errorf("%s has\n%v\nwant\n%v", name, order, want)
		}
		t.Logf("%s has %d events, and %d of them again", name, count, again)
		if name == "the webhook" && again == 0 {
			t.Error("none came again though it refused some")
		}
		bodies[name] = map[string]string{}
		for _, e := range all() {
			bodies[name][e.ID] = e.Body
		}
	}
	hooks.signed()
	for name, of := range bodies {
		for id, body := range bodies["the file"] {
			if other := of[id]; other == "" || name != "the bus" && other != body {
				t.Errorf("the event %s is at %s\n%s\nand in the file\n%s", id, name, other, body)
			}
		}
	}
	wait(t, "nothing to be left", func() bool { return len(w.deliveries(t)) == 0 })

	t.Log("replication, the transformer, the scan")
	var replicated []string
	for _, line := range lines(t, filepath.Join(w.Data, "events", "west.jsonl")) {
		e := decode[event](t, line)
		if e.Region != "us-west-2" || e.Detail.SourceRegion != "us-east-1" || e.Detail.Result != "SUCCESS" || e.Detail.Repository != "copied/app" {
			t.Errorf("%s", line)
		}
		if !slices.Contains(replicated, e.Detail.Tag) {
			replicated = append(replicated, e.Detail.Tag)
		}
	}
	slices.Sort(replicated)
	if !slices.Equal(replicated, []string{"v00", "v01", "v02", "v03", "v04", "v05"}) {
		t.Errorf("replicated are %q", replicated)
	}
	if all := lines(t, filepath.Join(w.Data, "events", "told.jsonl")); !slices.Contains(all, `"DELETE of team/b:v01"`) {
		t.Errorf("the transformer made %q", all)
	}
	for _, e := range filed(t, filepath.Join(w.Data, "events", "log.jsonl")) {
		if e.Line == "SCAN COMPLETE" && decode[event](t, e.Body).Detail.Counts["UNDEFINED"] != 13 {
			t.Errorf("%s", e.Body)
		}
	}
}

// taken are the events that a queue, a topic or a bus has.
func taken(t *testing.T, s *awstest.Server, arn string) []happened {
	t.Helper()
	var all []happened
	for _, m := range s.Taken(arn) {
		if m.Source == "" {
			all = append(all, read(t, m.Body))
			continue
		}
		d := decode[detail](t, m.Body)
		if m.Source != "berth.ecr" || m.DetailType == "" {
			t.Errorf("the bus has %+v", m)
		}
		all = append(all, happened{d.ID, d.Repository, d.line(), m.Body})
	}
	return all
}

// streamed are the events that a stream has; none while its server is away.
func streamed(t *testing.T, s jetstream.Stream) []happened {
	t.Helper()
	info, err := s.Info(t.Context())
	if err != nil {
		return nil
	}
	var all []happened
	for n := info.State.FirstSeq; n > 0 && n <= info.State.LastSeq; n++ {
		m, err := s.GetMsg(t.Context(), n)
		if err != nil {
			return nil
		}
		e := read(t, string(m.Data))
		if m.Header.Get(jetstream.MsgIDHeader) != e.ID {
			t.Errorf("%s has the id %q", m.Data, m.Header.Get(jetstream.MsgIDHeader))
		}
		all = append(all, e)
	}
	return all
}
