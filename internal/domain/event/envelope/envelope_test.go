package envelope_test

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/event/envelope"
	"github.com/berth-registry/berth/internal/domain/event/pattern"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/scan/finding"
)

const (
	account = name.AccountID("123456789012")
	west    = name.Region("us-west-2")
	east    = name.Region("us-east-1")
	digest  = name.Digest("sha256:7f5b2640fe6fb4f46592dfd3410c4a79dac4f89e4782432e0378abcd1234")
	config  = "application/vnd.oci.image.config.v1+json"
	oci     = "application/vnd.oci.image.manifest.v1+json"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	out, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// seen is a finding with all that Inspector's published sample shows.
func seen(t *testing.T) finding.Enhanced {
	first := at(t, "2021-12-03T18:02:30Z")
	score := finding.CVSS{Source: "REDHAT_CVE", Version: "3.0", Vector: "CVSS:3.0/…", Score: 6.5}
	return finding.Enhanced{
		ARN: "arn:aws:inspector2:us-west-2:123456789012:finding/…", Account: account, Title: "CVE-2019-17498 - libssh2", Description: "…",
		FirstObserved: first, LastObserved: first, Update: first, Severity: finding.Medium, Status: finding.StatusActive, Score: 6.5, ScoreOf: score,
		Remediation: "…", ID: "CVE-2019-17498", Source: "REDHAT_CVE", SourceURL: "https://…", VendorSeverity: "Moderate", VendorCreated: at(t, "2019-10-16T00:00:00Z"),
		References: []string{"https://…"}, CVSS: []finding.CVSS{score},
		Packages: []finding.VulnerablePackage{{Name: "libssh2", Version: "1.4.3", Release: "12.amzn2.2", Arch: "X86_64", Manager: "OS", SourceLayerHash: "sha256:…"}},
		Image: finding.ImageDetails{
			Registry: name.Registry{Account: account, Region: west}, Repository: "my-repo", Digest: digest, Tags: []name.Tag{"latest"},
			PushedAt: at(t, "2021-12-03T18:02:13Z"), LastInUseAt: at(t, "2021-12-03T18:02:13Z"), InUseCount: 1, Architecture: "amd64", Platform: "AMAZON_LINUX_2",
		},
	}
}

type sample struct {
	region name.Region
	kind   event.Kind
	detail any
	group  string
}

// samples are what is recorded, by the name of the event that AWS publishes for it.
func samples(t *testing.T) map[string]sample {
	activated := at(t, "2025-10-10T19:13:02.7401Z")
	image := event.ImageDetail{Repository: "my-repo", Digest: digest, Tag: "latest", MediaType: oci, ArtifactType: config}
	ubuntu := event.ImageDetail{Repository: "ubuntu", Digest: digest, MediaType: oci, ArtifactType: config}
	sbom := event.ImageDetail{Repository: "sbom", Digest: digest, MediaType: "application/vnd.cncf.oras.artifact.manifest.v1+json", ArtifactType: "text/sbom+json"}
	from, to := name.Registry{Account: account, Region: west}, name.Registry{Account: account, Region: east}
	arn := func(r name.Region, repo string) string {
		return "arn:aws:ecr:" + string(r) + ":123456789012:repository/" + repo
	}
	return map[string]sample{
		"push":       {west, event.ImagePushed, image, arn(west, "my-repo")},
		"delete":     {west, event.ImageDeleted, image, arn(west, "my-repo")},
		"basic scan": {west, event.ImageScanned, event.ScanDetail{Repository: "my-repo", Digest: digest, Tags: []name.Tag{}, Status: "COMPLETE", Counts: map[string]int64{"MEDIUM": 9, "CRITICAL": 10}}, arn(west, "my-repo")},
		"frequency": {west, event.ScanFrequencyChanged, event.FrequencyDetail{ScanType: "ENHANCED", Repositories: []event.FrequencyChange{
			{Repository: "repository-1", Now: "SCAN_ON_PUSH", Before: "MANUAL"}, {Repository: "repository-2", Now: "CONTINUOUS_SCAN", Before: "SCAN_ON_PUSH"},
		}}, ""},
		"enhanced scan": {west, event.ImageScanInitial, event.ScanDetail{
			Repository: "my-repo", Digest: digest, Tags: []name.Tag{"latest"}, Status: "INITIAL_SCAN_COMPLETE",
			Counts: map[string]int64{"CRITICAL": 7, "HIGH": 61, "MEDIUM": 62, "LOW": 20, "UNTRIAGED": 8},
		}, arn(west, "my-repo")},
		"finding":            {west, event.FindingChanged, seen(t), arn(west, "my-repo")},
		"replicated":         {east, event.ImageReplicated, event.ReplicationDetail{Repository: "docker-hub/alpine", Digest: digest, Tag: "3.17.2", Source: from, Destination: to, Result: event.Success}, arn(east, "docker-hub/alpine")},
		"replication failed": {east, event.ImageReplicated, event.ReplicationDetail{Repository: "my-app", Digest: digest, Tag: "latest", Source: from, Destination: to, Result: event.Failed, FailureCode: "x"}, arn(east, "my-app")},
		"pull through":       {west, event.ImagePulledThrough, event.PullThroughDetail{Repository: "docker-hub/alpine", Digest: digest, Tag: "3.17.2", Prefix: "docker-hub", UpstreamURL: "public.ecr.aws", Result: event.Success}, arn(west, "docker-hub/alpine")},
		"archived":           {west, event.StorageClassChanged, event.StorageClassDetail{ImageDetail: ubuntu, Target: event.ArchiveClass}, arn(west, "ubuntu")},
		"restored":           {west, event.StorageClassChanged, event.StorageClassDetail{ImageDetail: ubuntu, Target: event.StandardClass, ActivatedAt: activated}, arn(west, "ubuntu")},
		"referrer restored":  {west, event.StorageClassChanged, event.StorageClassDetail{ImageDetail: sbom, Target: event.StandardClass, ActivatedAt: activated, Referrer: true}, arn(west, "sbom")},
	}
}

func stored(t *testing.T, s sample) envelope.Stored {
	t.Helper()
	detail, err := json.Marshal(s.detail)
	if err != nil {
		t.Fatal(err)
	}
	return envelope.Stored{
		ID: 42, Registry: name.Registry{Account: account, Region: s.region}, Kind: s.kind, Detail: detail,
		OccurredAt: time.Date(2024, 5, 8, 22, 44, 54, 999, time.FixedZone("", 7200)),
	}
}

// written is the event of a sample, whose id the published one is given.
func written(t *testing.T, s sample) envelope.Envelope {
	t.Helper()
	e, ok, err := envelope.Of(stored(t, s))
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	return e
}

func TestPublishedEvents(t *testing.T) {
	b, err := os.ReadFile("testdata/samples.json")
	if err != nil {
		t.Fatal(err)
	}
	var published map[string]json.RawMessage
	if err := json.Unmarshal(b, &published); err != nil {
		t.Fatal(err)
	}
	all := samples(t)
	if len(published) != 12 || len(all) != len(published) {
		t.Fatalf("%d and %d events", len(published), len(all))
	}
	for title, text := range published {
		t.Run(title, func(t *testing.T) {
			s, ok := all[title]
			if !ok {
				t.Fatal("nothing is recorded for it")
			}
			e := written(t, s)
			var want bytes.Buffer
			if err := json.Compact(&want, bytes.Replace(text, []byte("85fc3613-e913-7fc4-a80c-a3753e4aa9ae"), []byte(e.ID), 1)); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(e.Body, want.Bytes()) {
				t.Errorf("got  %s\nwant %s", e.Body, want.Bytes())
			}
			var members struct {
				Source     string `json:"source"`
				DetailType string `json:"detail-type"`
			}
			if err := json.Unmarshal(e.Body, &members); err != nil || members.Source != e.Source || members.DetailType != e.DetailType {
				t.Errorf("%+v and %+v, %v", members, e, err)
			}
			if e.Group != s.group {
				t.Errorf("the group %q", e.Group)
			}
			if _, err := pattern.ParseEvent(e.Body); err != nil {
				t.Error(err)
			}
		})
	}
}

// detail is what an event tells.
func detail(t *testing.T, s sample) map[string]any {
	t.Helper()
	var e struct {
		Detail map[string]any `json:"detail"`
	}
	if err := json.Unmarshal(written(t, s).Body, &e); err != nil {
		t.Fatal(err)
	}
	return e.Detail
}

func TestEventsWithLess(t *testing.T) {
	untagged := event.ImageDetail{Repository: "a", Digest: digest}
	if _, has := detail(t, sample{west, event.ImageDeleted, untagged, ""})["image-tag"]; has {
		t.Error("a tag of an untagged image")
	}
	failed := detail(t, sample{west, event.ImagePulledThrough, event.PullThroughDetail{Repository: "p/a", Tag: "1", Prefix: "p", UpstreamURL: "quay.io", Result: event.Failed, Reason: "it was away"}, ""})
	if _, has := failed["image-digest"]; has || failed["sync-status"] != "FAILED" || failed["failure-reason"] != "it was away" {
		t.Errorf("%v", failed)
	}
	scan := detail(t, sample{west, event.ImageScanned, event.ScanDetail{Repository: "a", Digest: digest, Status: "FAILED"}, ""})
	if !reflect.DeepEqual(scan["finding-severity-counts"], map[string]any{}) || !reflect.DeepEqual(scan["image-tags"], []any{}) || scan["scan-status"] != "FAILED" {
		t.Errorf("%v", scan)
	}
	clean := detail(t, sample{west, event.ImageScanInitial, event.ScanDetail{Repository: "a", Digest: digest, Status: "INITIAL_SCAN_COMPLETE"}, ""})
	if !reflect.DeepEqual(clean["finding-severity-counts"], map[string]any{"TOTAL": 0.0}) {
		t.Errorf("%v", clean)
	}
	bare := detail(t, sample{west, event.FindingChanged, finding.Enhanced{ID: "CVE-1", Status: finding.StatusClosed, Image: finding.ImageDetails{Repository: "a", Digest: digest}}, ""})
	for _, member := range []string{"inspectorScore", "inspectorScoreDetails", "fixAvailable"} {
		if _, has := bare[member]; has {
			t.Errorf("%s of a finding without", member)
		}
	}
	if bare["status"] != "CLOSED" {
		t.Errorf("%v", bare)
	}
}

// Every member that a finding has comes through: none has another name where it is read.
func TestFindingsWithMore(t *testing.T) {
	f := seen(t)
	f.FixAvailable, f.Related, f.VendorUpdated = finding.FixYes, []string{"RHSA-1"}, at(t, "2020-01-02T13:04:05Z")
	f.Packages[0].FilePath, f.Packages[0].FixedInVersion, f.Packages[0].Remediation, f.Packages[0].Epoch = "lib/a", "1.4.4", "yum update libssh2", 3
	f.Image.Author, f.Description = "a <b> & c", "see <https://a?b&c>"
	body := string(written(t, sample{west, event.FindingChanged, f, ""}).Body)
	for _, part := range []string{
		`"description":"see <https://a?b&c>"`, `"firstObservedAt":"Dec 3, 2021, 6:02:30 PM","fixAvailable":"YES","inspectorScore":6.5`,
		`"relatedVulnerabilities":["RHSA-1"]`, `"vendorUpdatedAt":"Jan 2, 2020, 1:04:05 PM"`, `"author":"a <b> & c"`,
		`{"arch":"X86_64","epoch":3,"filePath":"lib/a","fixedInVersion":"1.4.4","name":"libssh2","packageManager":"OS","release":"12.amzn2.2","remediation":"yum update libssh2","sourceLayerHash":"sha256:…","version":"1.4.3"}`,
	} {
		if !strings.Contains(body, part) {
			t.Errorf("%s lacks %s", body, part)
		}
	}
}

func TestPulls(t *testing.T) {
	d := event.PullDetail{Repository: "my-repo", Digest: digest, Tag: "v1", Count: 17, Since: at(t, "2024-05-08T20:40:00.5+02:00")}
	e := written(t, sample{west, event.ImagePulled, d, ""})
	want := `"detail":{"result":"SUCCESS","repository-name":"my-repo","image-digest":"` + string(digest) + `","action-type":"PULL","image-tag":"v1","pull-count":17,"since":"2024-05-08T18:40:00.5Z"}}`
	if !strings.HasSuffix(string(e.Body), want) || e.DetailType != "ECR Image Action" || !strings.HasSuffix(e.Group, ":repository/my-repo") {
		t.Errorf("%+v", e)
	}
}

func TestWhatEventBridgeDoesNotKnow(t *testing.T) {
	for title, change := range map[string]func(*envelope.Stored){
		"an executed policy":  func(s *envelope.Stored) { s.Kind = event.PolicyExecuted },
		"a previewed policy":  func(s *envelope.Stored) { s.Kind = event.PolicyPreviewed },
		"a public repository": func(s *envelope.Stored) { s.Registry = name.PublicRegistry(account) },
		"a kind of later":     func(s *envelope.Stored) { s.Kind = "SomethingElse" },
	} {
		s := stored(t, samples(t)["push"])
		change(&s)
		if e, ok, err := envelope.Of(s); ok || err != nil || e.Body != nil {
			t.Errorf("%s: %+v %v %v", title, e, ok, err)
		}
	}
}

func TestDetailsThatAreNone(t *testing.T) {
	for _, s := range samples(t) {
		for _, text := range []string{``, `{`, `[]`, `{"repository": 1, "Image": 1, "repositories": 1}`} {
			bad := stored(t, s)
			bad.Detail = json.RawMessage(text)
			if _, ok, err := envelope.Of(bad); ok || err == nil {
				t.Errorf("%s with %s: %v %v", s.kind, text, ok, err)
			}
		}
		if s.kind != event.ScanFrequencyChanged {
			bad := stored(t, s)
			bad.Detail = json.RawMessage(`{}`)
			if _, ok, err := envelope.Of(bad); ok || err == nil {
				t.Errorf("%s of no repository: %v %v", s.kind, ok, err)
			}
		}
	}
}

func TestIDsNeverChange(t *testing.T) {
	of := func(change func(*envelope.Stored)) string {
		s := stored(t, samples(t)["push"])
		change(&s)
		e, _, err := envelope.Of(s)
		if err != nil {
			t.Fatal(err)
		}
		return e.ID
	}
	id := of(func(*envelope.Stored) {})
	if id != "dff63fbc-e992-5cc3-a874-41eef29e40dc" {
		t.Errorf("the id is %s; targets know events by their ids, which must not change from one version to the next", id)
	}
	if u, err := uuid.Parse(id); err != nil || u.Version() != 5 {
		t.Errorf("%v %v", u, err)
	}
	if of(func(s *envelope.Stored) { s.OccurredAt = time.Now() }) != id {
		t.Error("it depends on the time")
	}
	different := map[string]bool{id: true}
	for _, change := range []func(*envelope.Stored){
		func(s *envelope.Stored) { s.ID++ },
		func(s *envelope.Stored) { s.Registry.Region = east },
		func(s *envelope.Stored) { s.Registry.Account = "210987654321" },
	} {
		different[of(change)] = true
	}
	if len(different) != 4 {
		t.Errorf("%v", different)
	}
}

func TestPartitions(t *testing.T) {
	s := stored(t, samples(t)["basic scan"])
	s.Registry.Region = "cn-north-1"
	e, _, err := envelope.Of(s)
	if err != nil || e.Group != "arn:aws-cn:ecr:cn-north-1:123456789012:repository/my-repo" || !strings.Contains(string(e.Body), `"resources":["`+e.Group+`"]`) {
		t.Errorf("%s %v", e.Body, err)
	}
}
