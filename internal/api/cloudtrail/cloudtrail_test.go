package cloudtrail_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	client "github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/smithy-go"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/awstest"
	"github.com/berth-registry/berth/internal/api/aws/sigv4"
	"github.com/berth-registry/berth/internal/api/cloudtrail"
	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/audit/lookup"
	"github.com/berth-registry/berth/internal/domain/audit/trails"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
	"github.com/berth-registry/berth/internal/infra/trailstore"
	"github.com/berth-registry/berth/internal/infra/trailstore/dir"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

const (
	account = name.AccountID("111111111111")
	other   = name.AccountID("222222222222")
	west    = name.Region("eu-west-1")
	east    = name.Region("us-east-1") // where public registries are; not served here
)

// keySource gives the verifier the secrets that principal keeps.
type keySource struct{ p *principal.Service }

func (s keySource) AccessKey(ctx context.Context, id, sessionToken string) (sigv4.Key, bool, error) {
	k, found, err := s.p.Credentials(ctx, id, sessionToken)
	return sigv4.Key{Secret: k.Secret, Principal: k.Principal, Enabled: k.Enabled, Expires: k.Expires}, found, err
}

// world is CloudTrail over a real database, behind the real pipeline, which writes the
// real trail.
type world struct {
	t          *testing.T
	url        string
	principals *principal.Service
	entities   *entity.Service
	trail      *audit.Trail
	trails     *trails.Service
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func newWorld(t *testing.T) *world {
	ctx, clk, log := t.Context(), clock.System{}, slog.New(slog.DiscardHandler)
	w := &world{t: t}
	db := sqldbtest.SQLite(t)
	w.must(db.Migrate(ctx, "schema_version", schema.Durable()...))
	keys, err := keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), clk)
	w.must(err)
	w.principals, err = principal.New(db, keys, clk)
	w.must(err)
	for _, a := range []name.AccountID{account, other} {
		w.must(w.principals.EnsureAccount(ctx, a))
	}
	w.entities = entity.New(w.principals)
	registries := registry.New(db, clk, []name.Region{west})
	access, err := authz.New(authz.Config{
		Principals: w.principals, Entities: w.entities, Registries: registries, Keys: keys, Clock: clk,
		Repositories: repository.New(repository.Config{DB: db, Clock: clk, Registries: registries, Keys: keys, Quotas: quota.Fixed(quota.Default())}),
	})
	w.must(err)
	store, err := dir.Open(t.TempDir())
	w.must(err)
	t.Cleanup(func() { w.must(store.Close()) })
	w.trail = audit.NewTrail(db, log, audit.Options{})
	w.trails = trails.New(trails.Config{
		DB: db, Clock: clk, Log: log, Keys: keys, Records: w.trail, Regions: []name.Region{west}, Margin: time.Nanosecond,
		Buckets: map[string]trailstore.Store{"logs": store},
	})
	api := cloudtrail.New(cloudtrail.Config{Trails: w.trails, Lookup: lookup.New(db), SigningKey: make([]byte, 32), Regions: func(r name.Region) error {
		if r != west && r != east {
			return errs.New(errs.InvalidParameter, "no such region")
		}
		return nil
	}})
	pipeline, err := aws.New(aws.Config{
		Services:      []aws.Service{api.Service()},
		Authenticator: sigv4.New(sigv4.Config{Keys: keySource{w.principals}, Clock: clk, Log: log}),
		Authorizer:    access, Audit: w.trail, Clock: clk, Log: log,
	})
	w.must(err)
	server := httptest.NewServer(pipeline)
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

func (w *world) client(id, secret string, region name.Region) *client.Client {
	return client.New(client.Options{
		Region: string(region), BaseEndpoint: &w.url, Credentials: credentials.NewStaticCredentialsProvider(id, secret, ""), Retryer: sdk.NopRetryer{},
		HTTPClient: awstest.Client{Client: http.DefaultClient},
	})
}

func (w *world) key(a name.AccountID) (id, secret string) {
	w.t.Helper()
	id, secret = principal.NewAccessKeyPair(principal.PrefixAccessKey, a)
	w.must(w.principals.PutRootKey(w.t.Context(), a, id, secret))
	return id, secret
}

func (w *world) root(a name.AccountID, region name.Region) *client.Client {
	id, secret := w.key(a)
	return w.client(id, secret, region)
}

// user makes a user with the statements as its policy.
func (w *world) user(userName, statements string) *client.Client {
	w.t.Helper()
	ctx := w.t.Context()
	e, err := w.entities.Create(ctx, entity.Create{Account: account, Kind: entity.User, Name: userName})
	w.must(err)
	w.must(w.entities.PutInline(ctx, account, entity.User, userName, "p", fmt.Sprintf(`{"Version":"2012-10-17","Statement":[%s]}`, statements)))
	id, secret := principal.NewAccessKeyPair(principal.PrefixAccessKey, account)
	w.must(w.principals.Change(ctx, account, func(tx *sqldb.Tx) error { return w.principals.PutKeyTx(ctx, tx, account, e.ID, id, secret) }))
	return w.client(id, secret, west)
}

func (w *world) refused(err error, code, text string) {
	w.t.Helper()
	var got smithy.APIError
	if !errors.As(err, &got) || got.ErrorCode() != code || !strings.Contains(got.ErrorMessage(), text) {
		w.t.Errorf("got %v, want %s %q", err, code, text)
	}
}

func TestTrails(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	root := w.root(account, west)
	all, logs := sdk.String("all"), sdk.String("logs")
	for _, c := range []struct {
		in         client.CreateTrailInput
		code, text string
	}{
		{client.CreateTrailInput{Name: sdk.String("a b c"), S3BucketName: logs}, "InvalidTrailNameException", "can only contain"},
		{client.CreateTrailInput{Name: all, S3BucketName: sdk.String("none")}, "S3BucketDoesNotExistException", "audit.buckets"},
		{client.CreateTrailInput{Name: all, S3BucketName: logs, SnsTopicName: sdk.String("t")}, "InvalidParameterException", "SnsTopicName"},
		{client.CreateTrailInput{Name: all, S3BucketName: logs, KmsKeyId: sdk.String("k")}, "InvalidParameterException", "KmsKeyId"},
		{client.CreateTrailInput{Name: all, S3BucketName: logs, CloudWatchLogsRoleArn: sdk.String("k")}, "InvalidParameterException", "CloudWatch"},
		{client.CreateTrailInput{Name: all, S3BucketName: logs, IsOrganizationTrail: sdk.Bool(true)}, "InvalidParameterException", "IsOrganizationTrail"},
		{client.CreateTrailInput{Name: all, S3BucketName: logs, S3KeyPrefix: sdk.String("/x")}, "InvalidParameterException", "prefix"},
		{client.CreateTrailInput{Name: all, S3BucketName: logs, TagsList: make([]types.Tag, 51)}, "ValidationException", "tagsList"},
		{client.CreateTrailInput{Name: all, S3BucketName: logs, TagsList: []types.Tag{{Key: all}, {Key: all}}}, "InvalidTagParameterException", "unique"},
		{client.CreateTrailInput{Name: all, S3BucketName: logs, IsMultiRegionTrail: sdk.Bool(true), IncludeGlobalServiceEvents: sdk.Bool(false)}, "InvalidParameterCombinationException", "global"},
	} {
		if len(c.in.TagsList) == 51 {
			for i := range c.in.TagsList {
				c.in.TagsList[i].Key = sdk.String(fmt.Sprint(i))
			}
			c.code, c.text = "TagsLimitExceededException", "50"
		}
		_, err := root.CreateTrail(ctx, &c.in)
		w.refused(err, c.code, c.text)
	}
	made, err := root.CreateTrail(ctx, &client.CreateTrailInput{
		Name: all, S3BucketName: logs, S3KeyPrefix: sdk.String("p"), IsMultiRegionTrail: sdk.Bool(true), EnableLogFileValidation: sdk.Bool(true),
		TagsList: []types.Tag{{Key: sdk.String("team"), Value: sdk.String("blue")}},
	})
	w.must(err)
	if *made.TrailARN != "arn:aws:cloudtrail:eu-west-1:111111111111:trail/all" || !*made.IncludeGlobalServiceEvents || !*made.LogFileValidationEnabled || *made.S3KeyPrefix != "p" {
		t.Errorf("%+v", made)
	}
	_, err = root.CreateTrail(ctx, &client.CreateTrailInput{Name: all, S3BucketName: logs})
	w.refused(err, "TrailAlreadyExistsException", "Trail all already exists for customer: 111111111111")

	away := w.root(account, east)
	_, err = away.StartLogging(ctx, &client.StartLoggingInput{Name: made.TrailARN})
	w.refused(err, "InvalidHomeRegionException", "eu-west-1")
	got, err := away.GetTrail(ctx, &client.GetTrailInput{Name: all})
	w.must(err)
	if *got.Trail.HomeRegion != string(west) || *got.Trail.TrailARN != *made.TrailARN {
		t.Errorf("%+v", got.Trail)
	}
	for _, c := range []struct {
		from    *client.Client
		names   []string
		shadows *bool
		want    int
	}{
		{root, nil, nil, 1}, {away, nil, nil, 1}, {away, nil, sdk.Bool(false), 0}, {root, []string{"all", "none"}, nil, 1}, {root, []string{*made.TrailARN}, sdk.Bool(false), 1}, {away, []string{"all"}, sdk.Bool(false), 0},
		{w.root(other, west), nil, nil, 0},
	} {
		out, err := c.from.DescribeTrails(ctx, &client.DescribeTrailsInput{TrailNameList: c.names, IncludeShadowTrails: c.shadows})
		if w.must(err); len(out.TrailList) != c.want {
			t.Errorf("%+v: %d", c, len(out.TrailList))
		}
	}
	_, err = root.DescribeTrails(ctx, &client.DescribeTrailsInput{TrailNameList: []string{"arn:aws:x"}})
	w.refused(err, "InvalidTrailNameException", "ARN")
	listed, err := away.ListTrails(ctx, &client.ListTrailsInput{})
	if w.must(err); len(listed.Trails) != 1 || *listed.Trails[0].HomeRegion != string(west) {
		t.Errorf("%+v", listed.Trails)
	}
	_, err = root.ListTrails(ctx, &client.ListTrailsInput{NextToken: sdk.String("x")})
	w.refused(err, "InvalidNextTokenException", "token")

	status, err := root.GetTrailStatus(ctx, &client.GetTrailStatusInput{Name: all})
	if w.must(err); *status.IsLogging || status.LatestDeliveryTime != nil || *status.TimeLoggingStarted != "" {
		t.Errorf("%+v", status)
	}
	_, err = root.StartLogging(ctx, &client.StartLoggingInput{Name: all})
	w.must(err)
	_, err = root.GetTrail(ctx, &client.GetTrailInput{Name: all})
	w.must(err)
	w.must(w.trail.Flush(ctx))
	w.must(w.trails.Deliver(ctx))
	status, err = root.GetTrailStatus(ctx, &client.GetTrailStatusInput{Name: all})
	if w.must(err); !*status.IsLogging || status.LatestDeliveryTime == nil || status.StartLoggingTime == nil || *status.LatestDeliveryAttemptSucceeded != "true" || status.LatestDeliveryError != nil {
		t.Errorf("%+v", status)
	}
	_, err = root.StopLogging(ctx, &client.StopLoggingInput{Name: made.TrailARN})
	w.must(err)
	changed, err := root.UpdateTrail(ctx, &client.UpdateTrailInput{Name: all, IsMultiRegionTrail: sdk.Bool(false), EnableLogFileValidation: sdk.Bool(false)})
	if w.must(err); *changed.IsMultiRegionTrail || *changed.LogFileValidationEnabled || *changed.S3KeyPrefix != "p" {
		t.Errorf("%+v", changed)
	}
	status, err = root.GetTrailStatus(ctx, &client.GetTrailStatusInput{Name: all})
	if w.must(err); *status.IsLogging || status.StopLoggingTime == nil {
		t.Errorf("%+v", status)
	}

	// What users may is told by the ARN and the tags of the trail, there or not.
	reader := w.user("reader", `{"Effect":"Allow","Action":"cloudtrail:GetTrail*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/team":"blue"}}}`)
	_, err = reader.GetTrailStatus(ctx, &client.GetTrailStatusInput{Name: all})
	w.must(err)
	for _, missing := range []string{"none", "a b"} {
		_, err = reader.GetTrail(ctx, &client.GetTrailInput{Name: &missing})
		w.refused(err, "AccessDeniedException", "cloudtrail:GetTrail on resource: arn:aws:cloudtrail:eu-west-1:111111111111:trail/"+missing)
	}
	_, err = reader.DeleteTrail(ctx, &client.DeleteTrailInput{Name: all})
	w.refused(err, "AccessDeniedException", "cloudtrail:DeleteTrail on resource: arn:aws:cloudtrail:eu-west-1:111111111111:trail/all")
	_, err = reader.LookupEvents(ctx, &client.LookupEventsInput{})
	w.refused(err, "AccessDeniedException", "cloudtrail:LookupEvents")

	_, err = root.DeleteTrail(ctx, &client.DeleteTrailInput{Name: all})
	w.must(err)
	_, err = root.GetTrail(ctx, &client.GetTrailInput{Name: all})
	w.refused(err, "TrailNotFoundException", "Unknown trail: all for the user: 111111111111")
	_, err = root.GetTrail(ctx, &client.GetTrailInput{Name: sdk.String("ab")})
	w.refused(err, "InvalidTrailNameException", "too short")
}

func TestLookupEvents(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	root := w.root(account, west)
	now := time.Now().Truncate(time.Second)
	for i := range 60 {
		w.trail.Record(ctx, audit.Entry{
			Time: now.Add(-time.Duration(i) * time.Minute), EventSource: "ecr.amazonaws.com", EventName: "PutImage", Region: west, Account: account,
			Principal: audit.Identity{Account: account, ARN: "arn:aws:iam::111111111111:user/ann", ID: "AIDA", Type: "IAMUser", UserName: "ann", AccessKeyID: "AKIAEXAMPLE"},
			Resources: []string{"arn:aws:ecr:eu-west-1:111111111111:repository/app"},
		})
	}
	w.trail.Record(ctx, audit.Entry{Time: now, EventSource: "ecr-public.amazonaws.com", EventName: "CreateRepository", Region: east, Account: account})
	w.must(w.trail.Flush(ctx))

	attribute := func(k types.LookupAttributeKey, v string) []types.LookupAttribute {
		return []types.LookupAttribute{{AttributeKey: k, AttributeValue: &v}}
	}
	in := &client.LookupEventsInput{LookupAttributes: attribute(types.LookupAttributeKeyEventName, "PutImage")}
	first, err := root.LookupEvents(ctx, in)
	w.must(err)
	if len(first.Events) != 50 || first.NextToken == nil {
		t.Fatalf("%d events, %v", len(first.Events), first.NextToken)
	}
	e := first.Events[0]
	if *e.EventName != "PutImage" || *e.Username != "ann" || *e.ReadOnly != "false" || *e.AccessKeyId != "AKIAEXAMPLE" || !e.EventTime.Equal(now) || *e.EventSource != "ecr.amazonaws.com" ||
		len(e.Resources) != 1 || *e.Resources[0].ResourceType != "AWS::ECR::Repository" {
		t.Errorf("%+v", e)
	}
	var record struct{ EventID string }
	if w.must(json.Unmarshal([]byte(*e.CloudTrailEvent), &record)); record.EventID != *e.EventId {
		t.Errorf("%s is not %s", record.EventID, *e.EventId)
	}
	in.NextToken = first.NextToken
	second, err := root.LookupEvents(ctx, in)
	if w.must(err); len(second.Events) != 10 || second.NextToken != nil {
		t.Errorf("%d events, %v", len(second.Events), second.NextToken)
	}

	for _, c := range []struct {
		in   client.LookupEventsInput
		want int
	}{
		{client.LookupEventsInput{LookupAttributes: attribute("EventId", *e.EventId)}, 1},
		{client.LookupEventsInput{LookupAttributes: attribute("Username", "ann"), MaxResults: sdk.Int32(7)}, 7},
		{client.LookupEventsInput{LookupAttributes: attribute("ReadOnly", "False"), MaxResults: sdk.Int32(3)}, 3},
		{client.LookupEventsInput{LookupAttributes: attribute("EventName", "PutImage"), StartTime: sdk.Time(now.Add(-2 * time.Minute)), EndTime: &now}, 3},
		{client.LookupEventsInput{LookupAttributes: attribute("EventName", "CreateRepository")}, 0}, // in us-east-1
	} {
		out, err := root.LookupEvents(ctx, &c.in)
		if w.must(err); len(out.Events) != c.want {
			t.Errorf("%+v: %d events", c.in, len(out.Events))
		}
	}
	out, err := w.root(account, east).LookupEvents(ctx, &client.LookupEventsInput{LookupAttributes: attribute("EventSource", "ecr-public.amazonaws.com")})
	if w.must(err); len(out.Events) != 1 {
		t.Errorf("%d events of public registries", len(out.Events))
	}
	out, err = w.root(other, west).LookupEvents(ctx, &client.LookupEventsInput{LookupAttributes: attribute("EventName", "PutImage")})
	if w.must(err); len(out.Events) != 0 {
		t.Errorf("%d events of another account", len(out.Events))
	}

	for _, c := range []struct {
		in         client.LookupEventsInput
		code, text string
	}{
		{client.LookupEventsInput{MaxResults: sdk.Int32(51)}, "InvalidMaxResultsException", "A max results value of 51 is invalid. Specify max results between 1 and 50."},
		{client.LookupEventsInput{MaxResults: sdk.Int32(0)}, "InvalidMaxResultsException", "A max results value of 0 is invalid."},
		{client.LookupEventsInput{LookupAttributes: append(attribute("EventName", "a"), attribute("Username", "b")...)}, "InvalidLookupAttributesException", "one lookup attribute"},
		{client.LookupEventsInput{LookupAttributes: attribute("ReadOnly", "maybe")}, "InvalidLookupAttributesException", "ReadOnly"},
		{client.LookupEventsInput{LookupAttributes: attribute("Colour", "a")}, "ValidationException", "enum value set"},
		{client.LookupEventsInput{StartTime: &now, EndTime: sdk.Time(now.Add(-time.Hour))}, "InvalidTimeRangeException", "after the end"},
		{client.LookupEventsInput{NextToken: sdk.String("x")}, "InvalidNextTokenException", "token"},
		{client.LookupEventsInput{NextToken: first.NextToken}, "InvalidNextTokenException", "different parameters"},
		{client.LookupEventsInput{EventCategory: types.EventCategoryInsight}, "InvalidParameterException", "Insights"},
	} {
		_, err := root.LookupEvents(ctx, &c.in)
		w.refused(err, c.code, c.text)
	}
}

// TestCLI has the AWS CLI speak to it, which builds its requests from another model.
func TestCLI(t *testing.T) {
	w := newWorld(t)
	id, secret := w.key(account)
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "aws", append([]string{"--endpoint-url", w.url, "--region", string(west), "--output", "text", "cloudtrail"}, args...)...)
		cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + t.TempDir(), "AWS_ACCESS_KEY_ID=" + id, "AWS_SECRET_ACCESS_KEY=" + secret}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	run("create-trail", "--name", "all", "--s3-bucket-name", "logs", "--is-multi-region-trail", "--enable-log-file-validation")
	run("start-logging", "--name", "all")
	if got := run("get-trail-status", "--name", "all", "--query", "IsLogging"); got != "True" {
		t.Errorf("%q", got)
	}
	if got := run("describe-trails", "--query", "trailList[].Name"); got != "all" {
		t.Errorf("%q", got)
	}
	w.must(w.trail.Flush(t.Context()))
	got := strings.Fields(run("lookup-events", "--lookup-attributes", "AttributeKey=EventSource,AttributeValue=cloudtrail.amazonaws.com", "--query", "Events[].EventName"))
	if slices.Sort(got); !slices.Equal(got, []string{"CreateTrail", "DescribeTrails", "GetTrailStatus", "StartLogging"}) {
		t.Errorf("%q", got)
	}
}
