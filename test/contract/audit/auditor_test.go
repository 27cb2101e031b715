package audit

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/berth-registry/berth/test/contract/harness"
)

const (
	region  = "eu-west-1"
	account = "000000000000"
	testARN = "arn:aws:ecr:" + region + ":" + account + ":repository/testrepo"
)

// office is a server at which people have worked, and what they did.
type office struct {
	*harness.Server
	b               *shell
	mary, bob, role person
	// v1 is what docker pushed as prod, v2 what mary moved the tag to, later.
	v1, v2 string
	// before and after are around mary's move of prod; end is after everything.
	before, after, end time.Time
	alias              string            // of the public registry
	secrets            map[string]string // by what they are
}

// TestAuditor has people work with docker and the AWS CLI, and asks who did what.
func TestAuditor(t *testing.T) {
	t.Parallel()
	o := &office{secrets: map[string]string{}}
	o.Server = harness.Start(t, harness.Options{Config: "region: " + region + "\nlifecycle_delay: 100ms\n"})
	o.Region = region
	o.b = newShell(t, o.Endpoint, region, "docker", "dockerd").as(root(o.Server))
	harness.StartDocker(t, o.b.Box)
	o.people(t)
	o.work(t)
	o.service(t)
	o.public(t)
	o.failures(t)
	wait(t, "the records of it all", func() bool {
		names := map[string]bool{}
		for _, r := range all(t, o.Server) {
			names[r.EventName] = true
		}
		return names["ImageActivationEvent"] && names["PolicyExecutionEvent"] && names["DryRunEvent"] && names["DescribeImageReplicationStatus"]
	})
	o.end = nextSecond()
	t.Run("WhoMovedTheTag", o.whoMovedTheTag)
	t.Run("WhoPulled", o.whoPulled)
	t.Run("Attributes", o.attributes)
	t.Run("Pages", o.pages)
	t.Run("Refusals", o.refusals)
	t.Run("Records", o.records)
	t.Run("ServiceRecords", o.serviceRecords)
	t.Run("PublicRecords", o.publicRecords)
	t.Run("FailedCalls", o.failedCalls)
	t.Run("NoSecrets", o.noSecrets)
	t.Run("Operator", o.operator)
}

func (o *office) secret(what, text string) {
	o.secrets[what] = text
	o.secrets[what+" in base64"] = base64.StdEncoding.EncodeToString([]byte(text))
}

// shell is one of somebody's own.
func (o *office) shell(t *testing.T, p person) *shell {
	return newShell(t, o.Endpoint, region).as(p)
}

func (o *office) people(t *testing.T) {
	o.mary = user(t, o.Server, "mary", "ecr:*", "ecr-public:*", "sts:*", "cloudtrail:LookupEvents")
	o.bob = user(t, o.Server, "bob", "ecr:GetAuthorizationToken", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "sts:AssumeRole")
	api, ctx := iam.NewFromConfig(o.Config()), t.Context()
	_, err := api.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("Admin"), AssumeRolePolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + account + `"},"Action":"sts:AssumeRole"}]}`)})
	must(t, "CreateRole", err)
	_, err = api.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("Admin"), PolicyName: aws.String("all"), PolicyDocument: aws.String(allow("ecr:*"))})
	must(t, "PutRolePolicy", err)
	out, err := sts.NewFromConfig(o.ConfigAs(o.bob.id, o.bob.secret, "")).AssumeRole(ctx, &sts.AssumeRoleInput{
		RoleArn: aws.String("arn:aws:iam::" + account + ":role/Admin"), RoleSessionName: aws.String("Mary_Major"),
	})
	must(t, "AssumeRole", err)
	c := out.Credentials
	o.role = person{name: "Mary_Major", id: *c.AccessKeyId, secret: *c.SecretAccessKey, session: *c.SessionToken}
	o.role.ecr = ecr.NewFromConfig(o.ConfigAs(o.role.id, o.role.secret, o.role.session))
	for _, p := range []person{root(o.Server), o.mary, o.bob, o.role} {
		o.secret("the secret key of "+p.name, p.secret)
	}
	o.secret("a session token", o.role.session)
}

// login has docker be somebody, at a registry.
func (o *office) login(t *testing.T, p person, host, service, in string) {
	t.Helper()
	password := o.b.as(p).Run("aws", "--endpoint-url", o.Endpoint, "--region", in, service, "get-login-password")
	o.secret("a password of "+p.name+" for "+host, password)
	if out := o.b.Feed(password, "docker", "login", "--username", "AWS", "--password-stdin", host); !strings.Contains(out, "Login Succeeded") {
		t.Fatalf("docker login: %s", out)
	}
}

// build builds an image of a Dockerfile, whose layer holds the text.
func (o *office) build(image, text string) {
	o.b.Write("ctx/Dockerfile", []byte("FROM scratch\nCOPY one /one\n"))
	o.b.Write("ctx/one", []byte(text))
	o.b.Run("docker", "build", "-t", image, "ctx")
}

var digestLine = regexp.MustCompile(`digest: (sha256:[0-9a-f]{64}) size`)

func (o *office) dockerPush(t *testing.T, image string) string {
	t.Helper()
	m := digestLine.FindStringSubmatch(o.b.Run("docker", "push", image))
	if m == nil {
		t.Fatal("docker push printed no digest")
	}
	return m[1]
}

// work is what people did with testrepo.
func (o *office) work(t *testing.T) {
	_, err := o.role.ecr.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: aws.String("testrepo")})
	must(t, "CreateRepository", err)
	image := o.Host + "/testrepo:prod"
	o.secret("the content of a layer", "nobody's business but that of those who pull it")
	o.build(image, o.secrets["the content of a layer"])
	o.login(t, o.mary, o.Host, "ecr", region)
	o.v1 = o.dockerPush(t, image)
	o.v2 = push(t, o.Registry(t), "testrepo", "v2", 2)

	o.before = nextSecond()
	retag(t, o.mary, "testrepo", o.v2, "prod")
	o.after = nextSecond()
	retag(t, root(o.Server), "testrepo", o.v1, "prod") // undone by root

	o.login(t, o.bob, o.Host, "ecr", region)
	o.b.Run("docker", "rmi", "--force", image)
	o.b.Run("docker", "pull", image)
	_, err = o.mary.ecr.BatchGetImage(t.Context(), &ecr.BatchGetImageInput{RepositoryName: aws.String("testrepo"), ImageIds: []types.ImageIdentifier{{ImageDigest: &o.v1}}})
	must(t, "BatchGetImage", err)
	// What refers to an image is asked for by clients of the registry API.
	_, err = o.Registry(t).Do(t.Context(), harness.Request{Method: http.MethodGet, Path: "/v2/testrepo/referrers/" + o.v1}, http.StatusOK)
	must(t, "the referrers", err)
}

// service is what the service does itself: lifecycle policies and the archive.
func (o *office) service(t *testing.T) {
	o.CreateRepository(t, "life", "cold")
	r, api, ctx := o.Registry(t), o.ECR(), t.Context()
	child := push(t, r, "life", "", 3)
	raw, mediaType, err := r.Manifest(ctx, "life", child)
	must(t, "the image", err)
	index := harness.Manifest{SchemaVersion: 2, MediaType: harness.OCIIndex, Manifests: []harness.Descriptor{{MediaType: mediaType, Digest: child, Size: int64(len(raw))}}}
	r.PushManifest(t, "life", "list", harness.OCIIndex, index.Bytes(t))
	push(t, r, "life", "alpine", 4)
	push(t, r, "life", "newer", 5)
	push(t, r, "life", "newest", 6)
	policy := `{"rules":[{"rulePriority":1,"description":"remove all images > 2","selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":2},"action":{"type":"expire"}}]}`
	repo := aws.String("life")
	_, err = api.StartLifecyclePolicyPreview(ctx, &ecr.StartLifecyclePolicyPreviewInput{RepositoryName: repo, LifecyclePolicyText: &policy})
	must(t, "the preview", err)
	wait(t, "the preview", func() bool {
		out, err := api.GetLifecyclePolicyPreview(ctx, &ecr.GetLifecyclePolicyPreviewInput{RepositoryName: repo})
		return err == nil && out.Status == types.LifecyclePolicyPreviewStatusComplete
	})
	_, err = api.PutLifecyclePolicy(ctx, &ecr.PutLifecyclePolicyInput{RepositoryName: repo, LifecyclePolicyText: &policy})
	must(t, "the policy", err)

	cold := push(t, r, "cold", "v1", 7)
	for _, to := range []types.TargetStorageClass{types.TargetStorageClassArchive, types.TargetStorageClassStandard} {
		_, err := api.UpdateImageStorageClass(ctx, &ecr.UpdateImageStorageClassInput{RepositoryName: aws.String("cold"), ImageId: &types.ImageIdentifier{ImageDigest: &cold}, TargetStorageClass: to})
		must(t, string(to), err)
	}
}

// public is what mary does in the public registry.
func (o *office) public(t *testing.T) {
	made := o.b.as(o.mary).aws("ecr-public", "create-repository", "--repository-name", "ecr-tutorial", "--region", "us-east-1")
	uri := decode[struct {
		Repository struct{ RepositoryURI string }
	}](t, made).Repository.RepositoryURI
	parts := strings.Split(uri, "/")
	if len(parts) != 3 {
		t.Fatalf("the public repository is %s", uri)
	}
	o.alias = parts[1]
	o.login(t, o.mary, o.PublicHost, "ecr-public", "us-east-1")
	image := o.PublicHost + "/" + o.alias + "/ecr-tutorial:latest"
	o.build(image, "for everybody")
	o.dockerPush(t, image)
}

// failures are calls that are refused.
func (o *office) failures(t *testing.T) {
	api, ctx := o.mary.ecr, t.Context()
	refused := func(err error, want string) {
		t.Helper()
		if e, ok := errors.AsType[smithy.APIError](err); !ok || e.ErrorCode() != want {
			t.Fatalf("%v, want %s", err, want)
		}
	}
	_, err := o.bob.ecr.DeleteRepository(ctx, &ecr.DeleteRepositoryInput{RepositoryName: aws.String("testrepo"), Force: true})
	refused(err, "AccessDeniedException")
	_, err = api.CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: aws.String("testrepo")})
	refused(err, "RepositoryAlreadyExistsException")
	o.b.Refused("denied", "docker", "push", o.Host+"/testrepo:prod") // docker is still bob
	_, err = api.DescribeImageReplicationStatus(ctx, &ecr.DescribeImageReplicationStatusInput{RepositoryName: aws.String("none"), ImageId: &types.ImageIdentifier{ImageTag: aws.String("x")}})
	refused(err, "RepositoryNotFoundException")
}

// moves are those of a tag, the oldest first: who, when and to what.
func moves(t *testing.T, events []event, tag string) (all []string) {
	t.Helper()
	for _, e := range events {
		if r := e.record(t); r.EventName == "PutImage" && r.ErrorCode == "" && r.RequestParameters.ImageTag == tag {
			all = append(all, e.Username+" to "+r.ResponseElements.Image.ImageID.ImageDigest)
		}
	}
	slices.Reverse(all)
	return all
}

func (o *office) whoMovedTheTag(t *testing.T) {
	b := o.shell(t, root(o.Server))
	want := []string{"mary to " + o.v1, "mary to " + o.v2, "root to " + o.v1}
	if got := moves(t, b.lookup(t, by("ResourceName", testARN)...), "prod"); !slices.Equal(got, want) {
		t.Errorf("prod was moved by %q, want %q", got, want)
	}
	// Between two dates.
	got := moves(t, b.lookup(t, append(by("ResourceName", testARN), between(o.before, o.after.Add(-time.Second))...)...), "prod")
	if !slices.Equal(got, want[1:2]) {
		t.Errorf("between %s and %s prod was moved by %q, want %q", o.before, o.after, got, want[1:2])
	}
	// As a user of the AWS CLI asks, with jq or without.
	out := b.aws(append(append([]string{"cloudtrail", "lookup-events", "--query", "Events[?EventName=='PutImage'].Username"}, by("ResourceName", testARN)...), between(o.before, o.after.Add(-time.Second))...)...)
	if got := decode[[]string](t, out); !slices.Equal(got, []string{"mary"}) {
		t.Errorf("--query gives %s", out)
	}
}

func (o *office) whoPulled(t *testing.T) {
	b := o.shell(t, root(o.Server))
	pulls := map[string]int{}
	for _, e := range b.lookup(t, by("EventName", "BatchGetImage")...) {
		r := e.record(t)
		for _, id := range r.RequestParameters.ImageIds {
			if r.RequestParameters.RepositoryName == "testrepo" && (id.ImageTag == "prod" || id.ImageDigest == o.v1) {
				pulls[e.Username+" "+r.UserIdentity.InvokedBy]++
			}
		}
	}
	// docker pull of bob's, the API of mary's; root has read it to tag it.
	if pulls["bob ecr.amazonaws.com"] == 0 || pulls["mary "] == 0 || pulls["root "] == 0 || len(pulls) != 3 {
		t.Errorf("pulled by %v", pulls)
	}
	layers := 0
	for _, e := range b.lookup(t, by("EventName", "GetDownloadUrlForLayer")...) {
		if e.Username == "bob" {
			layers++
		}
	}
	if layers == 0 {
		t.Error("docker's pull shows no GetDownloadUrlForLayer")
	}
}

func (o *office) attributes(t *testing.T) {
	b := o.shell(t, root(o.Server))
	one := b.lookup(t, by("EventName", "DeleteRepository")...)
	if len(one) != 1 {
		t.Fatalf("%d DeleteRepository", len(one))
	}
	e := one[0]
	if e.Username != "bob" || e.AccessKeyID != o.bob.id || e.ReadOnly != "false" || e.EventSource != "ecr.amazonaws.com" ||
		len(e.Resources) != 1 || e.Resources[0].ResourceName != testARN || e.Resources[0].ResourceType != "AWS::ECR::Repository" {
		t.Errorf("%+v", e)
	}
	for _, c := range []struct {
		key, value string
		is         func(event) bool
		// some have to be among them
		some []string
	}{
		{"EventId", e.EventID, func(x event) bool { return x.EventID == e.EventID && x.CloudTrailEvent == e.CloudTrailEvent }, []string{"DeleteRepository"}},
		{"Username", "bob", func(x event) bool { return x.Username == "bob" }, []string{"DeleteRepository", "BatchGetImage", "GetDownloadUrlForLayer", "AssumeRole"}},
		{"Username", "Mary_Major", func(x event) bool { return x.AccessKeyID == o.role.id }, []string{"CreateRepository"}},
		{"AccessKeyId", o.mary.id, func(x event) bool { return x.Username == "mary" }, []string{"PutImage", "CreateRepository", "InitiateLayerUpload", "UploadLayerPart", "CompleteLayerUpload"}},
		{"ResourceName", testARN, func(x event) bool {
			return slices.ContainsFunc(x.Resources, func(r struct{ ResourceType, ResourceName string }) bool { return r.ResourceName == testARN })
		}, []string{"CreateRepository", "PutImage", "BatchGetImage", "ListImageReferrers", "DeleteRepository"}},
		{"ResourceType", "AWS::IAM::Role", func(x event) bool {
			return slices.ContainsFunc(x.Resources, func(r struct{ ResourceType, ResourceName string }) bool { return r.ResourceType == "AWS::IAM::Role" })
		}, []string{"AssumeRole"}},
		{"ReadOnly", "false", func(x event) bool { return x.ReadOnly == "false" }, []string{"PutImage", "CreateRepository"}},
		{"EventSource", "ecr.amazonaws.com", func(x event) bool { return x.EventSource == "ecr.amazonaws.com" }, []string{"PutImage", "PolicyExecutionEvent"}},
	} {
		found := b.lookup(t, by(c.key, c.value)...)
		names := map[string]bool{}
		for _, x := range found {
			names[x.EventName] = true
			if !c.is(x) {
				t.Errorf("%s %s finds %+v", c.key, c.value, x)
			}
		}
		for _, want := range c.some {
			if !names[want] {
				t.Errorf("%s %s does not find %s but %v", c.key, c.value, want, names)
			}
		}
	}
	if found := b.lookup(t, by("Username", "nobody")...); len(found) != 0 {
		t.Errorf("nobody has done %+v", found)
	}
}

func (o *office) pages(t *testing.T) {
	b := o.shell(t, root(o.Server))
	type page struct {
		Events    []event
		NextToken string
	}
	ids := func(events []event) (all []string) {
		for _, e := range events {
			all = append(all, e.EventID)
		}
		return all
	}
	window := between(o.before.Add(-time.Hour), o.end)
	ask := append(by("ResourceName", testARN), window...)
	whole := b.lookup(t, ask...)
	if len(whole) < 10 || !slices.IsSortedFunc(whole, func(x, y event) int { return strings.Compare(y.EventTime, x.EventTime) }) {
		t.Fatalf("%d events, or not the newest first", len(whole))
	}
	if got := b.lookup(t, append(ask, "--page-size", "3")...); !slices.Equal(ids(got), ids(whole)) {
		t.Errorf("in pages of 3: %d events, %d without", len(got), len(whole))
	}
	// --max-items ends in the middle of a page and goes on with --starting-token.
	var got []string
	for token := ""; ; {
		args := append(slices.Clone(ask), "--page-size", "4", "--max-items", fmt.Sprint(len(whole)/2-1))
		if token != "" {
			args = append(args, "--starting-token", token)
		}
		p := decode[page](t, b.aws(append([]string{"cloudtrail", "lookup-events"}, args...)...))
		got = append(got, ids(p.Events)...)
		if token = p.NextToken; token == "" {
			break
		}
	}
	if !slices.Equal(got, ids(whole)) {
		t.Errorf("by --max-items %q, want %q", got, ids(whole))
	}
	// CloudTrail's own pages, without the CLI's.
	got = nil
	for token := ""; ; {
		args := append(slices.Clone(ask), "--no-paginate", "--max-results", "7")
		if token != "" {
			args = append(args, "--next-token", token)
		}
		p := decode[page](t, b.aws(append([]string{"cloudtrail", "lookup-events"}, args...)...))
		got = append(got, ids(p.Events)...)
		if token = p.NextToken; token == "" {
			break
		}
		if len(p.Events) != 7 {
			t.Errorf("a page of %d", len(p.Events))
		}
	}
	if !slices.Equal(got, ids(whole)) {
		t.Errorf("by NextToken %q, want %q", got, ids(whole))
	}
}

func (o *office) refusals(t *testing.T) {
	b := o.shell(t, root(o.Server))
	lookup := []string{"cloudtrail", "lookup-events"}
	for text, args := range map[string][]string{
		"(InvalidMaxResultsException)":       {"--no-paginate", "--max-results", "51"},
		"(InvalidNextTokenException)":        {"--no-paginate", "--next-token", "made-up"},
		"(InvalidTimeRangeException)":        {"--start-time", "2026-02-01", "--end-time", "2026-01-01"},
		"(InvalidParameterException)":        {"--event-category", "insight"},
		"(InvalidLookupAttributesException)": {"--lookup-attributes", "AttributeKey=EventName,AttributeValue=a", "AttributeKey=Username,AttributeValue=b"},
	} {
		b.awsRefused(text, append(slices.Clone(lookup), args...)...)
	}
	o.shell(t, o.bob).awsRefused("is not authorized to perform: cloudtrail:LookupEvents", lookup...)
	if found := o.shell(t, o.mary).lookup(t, by("EventName", "DeleteRepository")...); len(found) != 1 {
		t.Errorf("mary, who may look, finds %d", len(found))
	}
}

func (o *office) noSecrets(t *testing.T) {
	records := all(t, o.Server)
	for _, r := range records {
		for what, secret := range o.secrets {
			if strings.Contains(r.whole, secret) {
				t.Errorf("%s stands in %s", what, r.EventName)
			}
		}
	}
	t.Logf("%d secrets are in none of %d records", len(o.secrets), len(records))
	for what, secret := range o.secrets {
		if len(secret) < 16 {
			t.Errorf("%s is %q, too short to look for", what, secret)
		}
	}
	if len(records) < 60 {
		t.Errorf("%d records", len(records))
	}
}

// operator asks with berth audit lookup.
func (o *office) operator(t *testing.T) {
	out, status := berth(t, o.Binary(), "audit", "lookup", "--data", o.Data, "--from", "1h", "EventName=DeleteRepository")
	if status != 0 || strings.Count(out, "\n") != 2 || !strings.Contains(out, "bob") || !strings.Contains(out, testARN) {
		t.Errorf("%d %s", status, out)
	}
	for _, c := range []struct {
		text   string
		status int
		args   []string
	}{
		{"There are no such records.", 0, []string{"EventName=Nothing"}},
		{"There are no such records.", 0, []string{"--region", "us-east-1", "EventName=DeleteRepository"}},
		{"NAME=VALUE", 1, []string{"DeleteRepository"}},
		{"--from", 1, []string{"--from", "yesterday"}},
		{"EventId, EventName, ReadOnly", 1, []string{"Colour=red"}},
	} {
		out, status := berth(t, o.Binary(), append([]string{"audit", "lookup", "--data", o.Data}, c.args...)...)
		if status != c.status || !strings.Contains(out, c.text) {
			t.Errorf("berth audit lookup %q: status %d, %s", c.args, status, out)
		}
	}
}
