package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/berth-registry/berth/test/contract/harness"
)

func must(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func decode[T any](t testing.TB, text string) (v T) {
	t.Helper()
	must(t, text, json.Unmarshal([]byte(text), &v))
	return v
}

// person is somebody with an access key.
type person struct {
	name, id, secret, session string
	ecr                       *ecr.Client
}

// user makes an IAM user who may do what the actions say, with everything.
func user(t *testing.T, s *harness.Server, name string, actions ...string) person {
	t.Helper()
	api, ctx := iam.NewFromConfig(s.Config()), t.Context()
	_, err := api.CreateUser(ctx, &iam.CreateUserInput{UserName: &name})
	must(t, "CreateUser", err)
	text := allow(actions...)
	_, err = api.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: &name, PolicyName: aws.String("all"), PolicyDocument: &text})
	must(t, "PutUserPolicy", err)
	key, err := api.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &name})
	must(t, "CreateAccessKey", err)
	p := person{name: name, id: *key.AccessKey.AccessKeyId, secret: *key.AccessKey.SecretAccessKey}
	p.ecr = ecr.NewFromConfig(s.ConfigAs(p.id, p.secret, ""))
	return p
}

func allow(actions ...string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["` + strings.Join(actions, `","`) + `"],"Resource":"*"}]}`
}

func root(s *harness.Server) person {
	return person{name: "root", id: s.AccessKeyID, secret: s.SecretAccessKey, ecr: s.ECR()}
}

// shell is a box whose AWS CLI calls the server as somebody.
type shell struct {
	*harness.Box
	endpoint, region string
}

func newShell(t testing.TB, endpoint, region string, programs ...string) *shell {
	return &shell{harness.NewBox(t, append(programs, "aws")...), endpoint, region}
}

// as has the next calls be somebody's.
func (b *shell) as(p person) *shell {
	b.With("AWS_ACCESS_KEY_ID="+p.id, "AWS_SECRET_ACCESS_KEY="+p.secret, "AWS_SESSION_TOKEN="+p.session)
	return b
}

func (b *shell) args(args []string) []string {
	args = append([]string{"--endpoint-url", b.endpoint, "--output", "json"}, args...)
	if !slices.Contains(args, "--region") {
		args = append(args, "--region", b.region)
	}
	return args
}

func (b *shell) aws(args ...string) string { return b.Run("aws", b.args(args)...) }

func (b *shell) awsRefused(text string, args ...string) { b.Refused(text, "aws", b.args(args)...) }

// event is what LookupEvents has of a record.
type event struct {
	EventID, EventName, EventSource, ReadOnly, Username string
	AccessKeyID                                         string `json:"AccessKeyId"`
	EventTime                                           string
	Resources                                           []struct{ ResourceType, ResourceName string }
	CloudTrailEvent                                     string
}

// record is what the tests ask of a record; whole is all of it.
type record struct {
	EventID, EventName, EventTime, EventSource, AwsRegion, EventType, ErrorCode, ErrorMessage string
	UserIdentity                                                                              struct{ Type, ARN, UserName, AccessKeyID, InvokedBy string }
	RequestParameters                                                                         struct {
		RepositoryName, ImageTag string
		ImageIds                 []struct{ ImageTag, ImageDigest string }
	}
	ResponseElements struct {
		Image struct{ ImageID struct{ ImageDigest string } }
	}
	ServiceEventDetails struct{ RepositoryName string }
	whole               string
}

func (e event) record(t testing.TB) record {
	r := decode[record](t, e.CloudTrailEvent)
	r.whole = e.CloudTrailEvent
	return r
}

// lookup asks LookupEvents with the AWS CLI.
func (b *shell) lookup(t testing.TB, args ...string) []event {
	t.Helper()
	return decode[struct{ Events []event }](t, b.aws(append([]string{"cloudtrail", "lookup-events"}, args...)...)).Events
}

// by are the arguments for one attribute.
func by(key, value string) []string {
	return []string{"--lookup-attributes", "AttributeKey=" + key + ",AttributeValue=" + value}
}

// between are the arguments for a range of time.
func between(from, to time.Time) []string {
	return []string{"--start-time", from.UTC().Format(time.RFC3339), "--end-time", to.UTC().Format(time.RFC3339)}
}

// nextSecond waits until the clock shows another second, which is then the first that
// belongs to what follows: records have whole seconds.
func nextSecond() time.Time {
	now := time.Now().Truncate(time.Second).Add(time.Second)
	time.Sleep(time.Until(now))
	return now
}

// all are all records, oldest last, by berth audit lookup.
func all(t testing.TB, s *harness.Server, args ...string) (records []record) {
	t.Helper()
	out, err := s.Command(t.Context(), append([]string{"audit", "lookup", "--data", s.Data, "--json", "--limit", "0"}, args...)...).Output()
	must(t, "berth audit lookup", explain(err))
	for line := range strings.Lines(string(out)) {
		r := decode[record](t, line)
		r.whole = strings.TrimSpace(line)
		records = append(records, r)
	}
	return records
}

// explain adds what a command wrote on standard error to its error.
func explain(err error) error {
	if e, ok := err.(*exec.ExitError); ok {
		return fmt.Errorf("%w: %s", err, e.Stderr)
	}
	return err
}

// berth runs a berth command and returns all that it writes, and its exit status.
func berth(t testing.TB, binary string, args ...string) (out string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	text, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatalf("berth %v: %v", args, err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}

// like compares a record with a sample of the guides, member by member: what the sample
// has, the record has, with the same value, where "*" stands for any text that is not empty
// and "/.../" for a regular expression. What the record has besides is returned.
func like(path string, sample, got any) (wrong, more []string) {
	differs := func() []string { return []string{fmt.Sprintf("%s is %v, the sample has %v", path, got, sample)} }
	switch want := sample.(type) {
	case map[string]any:
		have, ok := got.(map[string]any)
		if !ok {
			return differs(), nil
		}
		for key, value := range want {
			one, there := have[key]
			if !there {
				wrong = append(wrong, path+"."+key+" is missing")
				continue
			}
			w, m := like(path+"."+key, value, one)
			wrong, more = append(wrong, w...), append(more, m...)
		}
		for key := range have {
			if _, there := want[key]; !there {
				more = append(more, path+"."+key)
			}
		}
	case []any:
		have, ok := got.([]any)
		if !ok || len(have) != len(want) {
			return differs(), nil
		}
		for i := range want {
			w, m := like(fmt.Sprintf("%s[%d]", path, i), want[i], have[i])
			wrong, more = append(wrong, w...), append(more, m...)
		}
	case string:
		have, ok := got.(string)
		pattern, isPattern := strings.CutPrefix(want, "/")
		switch {
		case !ok, want == "*" && have == "":
			return differs(), nil
		case isPattern && !regexp.MustCompile("^(?:"+strings.TrimSuffix(pattern, "/")+")$").MatchString(have):
			return differs(), nil
		case want != "*" && !isPattern && have != want:
			return differs(), nil
		}
	default:
		if want != got {
			return differs(), nil
		}
	}
	return wrong, more
}

// check holds a record against a sample; more are the members that it may have besides.
func check(t *testing.T, what, sample, got string, more ...string) {
	t.Helper()
	wrong, besides := like("", decode[any](t, sample), decode[any](t, got))
	for _, w := range wrong {
		t.Errorf("%s: %s", what, w)
	}
	for _, m := range besides {
		if !slices.Contains(more, m) {
			t.Errorf("%s: the sample has no %s", what, m)
		}
	}
	if t.Failed() {
		t.Logf("%s: %s", what, got)
	}
}

// push pushes an OCI image and returns its digest.
func push(t *testing.T, r *harness.Registry, repo, ref string, seed uint64) string {
	t.Helper()
	return r.PushImage(t, repo, ref, seed, 2000).Digest
}

// retag puts a tag on an image by the API: BatchGetImage and PutImage.
func retag(t *testing.T, p person, repo, digest, tag string) {
	t.Helper()
	got, err := p.ecr.BatchGetImage(t.Context(), &ecr.BatchGetImageInput{RepositoryName: &repo, ImageIds: []types.ImageIdentifier{{ImageDigest: &digest}}})
	must(t, "BatchGetImage", err)
	if len(got.Images) != 1 {
		t.Fatalf("BatchGetImage: %+v", got.Failures)
	}
	_, err = p.ecr.PutImage(t.Context(), &ecr.PutImageInput{RepositoryName: &repo, ImageManifest: got.Images[0].ImageManifest, ImageManifestMediaType: got.Images[0].ImageManifestMediaType, ImageTag: &tag})
	must(t, "PutImage", err)
}
