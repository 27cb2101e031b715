package aws

import (
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
)

// replicationPatience is how long copying one small image may take.
const replicationPatience = 2 * time.Minute

// rulesTo is a replication configuration with one rule; without prefixes it is for
// all repositories.
func rulesTo(region, account string, prefixes ...string) object {
	rule := object{"destinations": array{object{"region": region, "registryId": account}}}
	var filters array
	for _, p := range prefixes {
		filters = append(filters, object{"filter": p, "filterType": "PREFIX_MATCH"})
	}
	if filters != nil {
		rule["repositoryFilters"] = filters
	}
	return object{"rules": array{rule}}
}

// configure sets the replication configuration; call what it returns at the end.
func (s *suite) configure(t *testing.T, configuration object) (done func()) {
	t.Helper()
	put := func(c object) {
		t.Helper()
		s.want(t, "PutReplicationConfiguration", object{"replicationConfiguration": c}, object{"replicationConfiguration": c})
		s.want(t, "DescribeRegistry", nil, object{"registryId": s.Account, "replicationConfiguration": c})
	}
	put(configuration)
	return func() { put(object{"rules": array{}}) }
}

// replicationConfiguration: what is put stands there in place of what was.
func (s *suite) replicationConfiguration(t *testing.T) {
	prefix := unique("nothing")
	for _, c := range []object{
		rulesTo(s.OtherRegion, s.Account, prefix), rulesTo(s.OtherRegion, "111122223333", prefix+"-a", prefix+"-b/"),
		{"rules": array{object{"destinations": array{}, "repositoryFilters": array{object{"filter": prefix, "filterType": "PREFIX_MATCH"}}}}},
		{"rules": array{
			object{"destinations": array{object{"region": s.OtherRegion, "registryId": s.Account}, object{"region": s.Region, "registryId": "111122223333"}}, "repositoryFilters": array{object{"filter": prefix, "filterType": "PREFIX_MATCH"}}},
			object{"destinations": array{object{"region": s.OtherRegion, "registryId": s.Account}}, "repositoryFilters": array{object{"filter": prefix + "/x", "filterType": "PREFIX_MATCH"}}},
		}},
	} {
		defer s.configure(t, c)()
	}
	const parameter = "replicationConfiguration"
	s.invalid(t, "PutReplicationConfiguration", object{parameter: object{"rules": array{
		object{"destinations": array{object{"region": s.OtherRegion, "registryId": s.Account}}}, object{"destinations": array{object{"region": s.Region, "registryId": s.Account}}},
	}}}, parameter, "Replication destination cannot be the same as the source registry")
	var many array
	for i := range 26 {
		many = append(many, object{"region": s.OtherRegion, "registryId": "1111222233" + string(rune('0'+i/10)) + string(rune('0'+i%10))})
	}
	s.invalid(t, "PutReplicationConfiguration", object{parameter: object{"rules": array{object{"destinations": many}}}}, parameter, "A replication configuration can contain at most 25 unique destinations")
	s.succeed(t, "PutReplicationConfiguration", object{parameter: object{"rules": array{
		object{"destinations": many[:25], "repositoryFilters": array{object{"filter": prefix, "filterType": "PREFIX_MATCH"}}}, object{"destinations": many[:25], "repositoryFilters": array{object{"filter": prefix, "filterType": "PREFIX_MATCH"}}},
	}}})
}

// replicated: an image that is pushed is soon in the other region, one that was
// there before is not, until a backfill brings it.
func (s *suite) replicated(t *testing.T) {
	repo := unique("replicated")
	s.succeed(t, "CreateRepository", object{"repositoryName": repo})
	k := s.kit(t, repo)
	old := k.image(t)
	before := s.put(t, repo, "old", old)
	status := func(id object) object {
		t.Helper()
		return s.succeed(t, "DescribeImageReplicationStatus", object{"repositoryName": repo, "imageId": id})
	}
	none := object{"repositoryName": repo, "imageId": object{"imageDigest": before, "imageTag": "old"}, "replicationStatuses": array{}}
	same(t, "before the configuration", none, status(object{"imageTag": "old"}))
	defer s.configure(t, rulesTo(s.OtherRegion, s.Account, repo))()

	pushed := k.image(t)
	digest := s.put(t, repo, "v1", pushed)
	there := func(id string) answer {
		t.Helper()
		return s.do(t, call{op: "BatchGetImage", in: object{"repositoryName": repo, "imageIds": array{object{"imageTag": id}}}, region: s.OtherRegion})
	}
	ended := func(what string, done func() bool) {
		t.Helper()
		for limit := time.Now().Add(replicationPatience); !done(); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(limit) {
				t.Fatalf("after %s it is not so: %s", replicationPatience, what)
			}
		}
	}
	ended("the pushed image is complete", func() bool {
		all := status(object{"imageDigest": digest})["replicationStatuses"].(array)
		return len(all) == 1 && all[0].(object)["status"] == "COMPLETE"
	})
	same(t, "the status", object{"repositoryName": repo, "imageId": object{"imageDigest": digest}, "replicationStatuses": array{
		object{"region": s.OtherRegion, "registryId": s.Account, "status": "COMPLETE"},
	}}, status(object{"imageDigest": digest}))
	arrived := func(tag, manifest string) {
		t.Helper()
		images := s.succeeded(t, "BatchGetImage", there(tag))["images"].(array)
		if len(images) != 1 || text(t, images[0].(object), "imageManifest") != manifest {
			t.Errorf("%s: %s", tag, shown(images))
		}
	}
	arrived("v1", pushed)
	if images := s.succeeded(t, "BatchGetImage", there("old"))["images"].(array); len(images) > 0 {
		t.Errorf("an image from before the configuration went along: %s", shown(images))
	}
	same(t, "the image from before", none, status(object{"imageTag": "old"}))

	// Through the SDK, with its paginators and its errors.
	ctx := t.Context()
	destination := &types.ReplicationDestination{Region: &s.OtherRegion, RegistryId: &s.Account}
	began, err := s.ecr.StartReplicationBackfill(ctx, &ecr.StartReplicationBackfillInput{Destination: destination})
	if err != nil {
		t.Fatal(err)
	}
	id := aws.ToString(began.ReplicationBackfillId)
	if !uuidPattern.MatchString(id) || began.Status != types.ReplicationBackfillStatusPreparing || aws.ToString(began.RegistryId) != s.Account || aws.ToString(began.Destination.Region) != s.OtherRegion {
		t.Errorf("%+v", began)
	}
	var last *ecr.DescribeReplicationBackfillResultsOutput
	ended("the backfill is complete", func() bool {
		if last, err = s.ecr.DescribeReplicationBackfillResults(ctx, &ecr.DescribeReplicationBackfillResultsInput{ReplicationBackfillId: &id}); err != nil {
			t.Fatal(err)
		}
		terminal := last.Status == types.ReplicationBackfillStatusComplete
		if !terminal && (len(last.Results) > 0 || last.EndedAt != nil) || (last.Progress == nil) != (last.Status == types.ReplicationBackfillStatusPreparing) {
			t.Fatalf("%+v", last)
		}
		return terminal
	})
	if p := last.Progress; aws.ToInt32(p.TotalReplicationCount) != 2 || aws.ToInt32(p.CompletedReplicationCount) != 2 || aws.ToInt32(p.FailedReplicationCount) != 0 || p.FailureCodes == nil || last.EndedAt == nil || last.FailureCode != nil {
		t.Errorf("%+v %+v", last, p)
	}
	arrived("old", old)
	arrived("v1", pushed)
	tags := map[string]bool{}
	for pages := ecr.NewDescribeReplicationBackfillResultsPaginator(s.ecr, &ecr.DescribeReplicationBackfillResultsInput{ReplicationBackfillId: &id, MaxResults: aws.Int32(1)}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil || len(page.Results) != 1 {
			t.Fatalf("%+v %v", page, err)
		}
		r := page.Results[0]
		tags[aws.ToString(r.ImageId.ImageTag)] = true
		if aws.ToString(r.RepositoryName) != repo || r.Status != types.ReplicationBackfillResultStatusComplete || r.FailureCode != nil || r.SubImageFailureCodes != nil {
			t.Errorf("%+v", r)
		}
	}
	if len(tags) != 2 || !tags["old"] || !tags["v1"] {
		t.Errorf("results for %v", tags)
	}
	s.want(t, "DescribeReplicationBackfillResults", object{"replicationBackfillId": id, "resultStatusFilter": "FAILED"}, object{
		"registryId": s.Account, "replicationBackfillId": id, "destination": object{"region": s.OtherRegion, "registryId": s.Account}, "status": "COMPLETE",
		"startedAt": during(time.Now().Add(-replicationPatience)), "endedAt": during(time.Now().Add(-replicationPatience)), "results": array{},
		"progress": object{"totalReplicationCount": 2, "completedReplicationCount": 2, "failedReplicationCount": 0, "failureCodes": array{}},
	})
	_, err = s.ecr.StopReplicationBackfill(ctx, &ecr.StopReplicationBackfillInput{ReplicationBackfillId: &id})
	if status, ok := errors.AsType[*types.ReplicationBackfillInvalidStatusException](err); !ok || status.ErrorMessage() == "" {
		t.Errorf("stopped after its end: %v", err)
	}
	listed := false
	for pages := ecr.NewListReplicationBackfillsPaginator(s.ecr, &ecr.ListReplicationBackfillsInput{MaxResults: aws.Int32(1)}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range page.Backfills {
			listed = listed || aws.ToString(b.ReplicationBackfillId) == id && b.Status == types.ReplicationBackfillStatusComplete && b.EndedAt != nil && b.Progress != nil
		}
	}
	if !listed {
		t.Error("the backfill is not listed")
	}
}

// backfillErrors are those that only a client of the SDK sees by their types.
func (s *suite) backfillErrors(t *testing.T) {
	ctx := t.Context()
	prefix := unique("backfill")
	defer s.configure(t, rulesTo(s.OtherRegion, s.Account, prefix))()
	none := aws.String("00000000-0000-4000-8000-000000000000")
	_, err := s.ecr.StopReplicationBackfill(ctx, &ecr.StopReplicationBackfillInput{ReplicationBackfillId: none})
	if _, ok := errors.AsType[*types.ReplicationBackfillNotFoundException](err); !ok {
		t.Errorf("stopped what is not there: %v", err)
	}
	_, err = s.ecr.DescribeReplicationBackfillResults(ctx, &ecr.DescribeReplicationBackfillResultsInput{ReplicationBackfillId: none})
	if _, ok := errors.AsType[*types.ReplicationBackfillNotFoundException](err); !ok {
		t.Errorf("described what is not there: %v", err)
	}
	for _, d := range []*types.ReplicationDestination{{Region: &s.Region, RegistryId: &s.Account}, {Region: &s.OtherRegion, RegistryId: aws.String("111122223333")}, {Region: aws.String("moon-west-9"), RegistryId: &s.Account}} {
		_, err := s.ecr.StartReplicationBackfill(ctx, &ecr.StartReplicationBackfillInput{Destination: d})
		if _, ok := errors.AsType[*types.InvalidParameterException](err); !ok {
			t.Errorf("to %s/%s: %v", *d.Region, *d.RegistryId, err)
		}
	}
	// Nothing matches, so that it is over at once, however it is asked.
	began, err := s.ecr.StartReplicationBackfill(ctx, &ecr.StartReplicationBackfillInput{Destination: &types.ReplicationDestination{Region: &s.OtherRegion, RegistryId: &s.Account}, RegistryId: &s.Account})
	if err != nil {
		t.Fatal(err)
	}
	for limit := time.Now().Add(replicationPatience); ; time.Sleep(20 * time.Millisecond) {
		out, err := s.ecr.DescribeReplicationBackfillResults(ctx, &ecr.DescribeReplicationBackfillResultsInput{ReplicationBackfillId: began.ReplicationBackfillId, RegistryId: &s.Account})
		if err != nil {
			t.Fatal(err)
		}
		if out.Status == types.ReplicationBackfillStatusComplete && aws.ToInt32(out.Progress.TotalReplicationCount) == 0 {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("after %s: %+v", replicationPatience, out)
		}
	}
}

func badReplication() []badCase {
	const put, status, start, stop, list, results = "PutReplicationConfiguration", "DescribeImageReplicationStatus", "StartReplicationBackfill", "StopReplicationBackfill", "ListReplicationBackfills", "DescribeReplicationBackfillResults"
	const configuration, prefixes = "replicationConfiguration", `^(?:[a-z0-9]+(?:[._-][a-z0-9]*)*/)*[a-z0-9]*(?:[._-][a-z0-9]*)*$`
	rules := func(rules string) string { return `{"replicationConfiguration":{"rules":[` + rules + `]}}` }
	to := func(destination string) string { return `{"destinations":[` + destination + `]}` }
	filtered := func(filters string) string {
		return rules(`{"destinations":[],"repositoryFilters":[` + filters + `]}`)
	}
	const foreign = "User: <caller> is not authorized to perform: ecr:ListReplicationBackfills on resource: arn:aws:ecr:<region>:111122223333:repository/* because no resource-based policy allows the ecr:ListReplicationBackfills action"
	const absent = "The replication backfill with id '<none>' does not exist in the registry with id '<acct>'"
	return []badCase{
		at(put, "no configuration", `{}`, configuration, "Member must not be null"),
		at(put, "no rules", `{"replicationConfiguration":{}}`, configuration+".rules", "Member must not be null"),
		at(put, "eleven rules", rules(`«10 {"destinations":[]},»{"destinations":[]}`), configuration+".rules", "Member must have length less than or equal to 10"),
		at(put, "a rule without destinations", rules(`{}`), configuration+".rules.1.member.destinations", "Member must not be null"),
		at(put, "a destination without a region", rules(to(`{"registryId":"<acct>"}`)), configuration+".rules.1.member.destinations.1.member.region", "Member must not be null"),
		at(put, "a destination without a registry", rules(to(`{"region":"eu-west-1"}`)), configuration+".rules.1.member.destinations.1.member.registryId", "must not be null"),
		at(put, "a registry id that is none", rules(to(`{"region":"eu-west-1","registryId":"1"}`)), configuration+".rules.1.member.destinations.1.member.registryId", "must satisfy regular expression '[0-9]{12}'"),
		at(put, "itself as a destination", rules(to(`{"region":"<region>","registryId":"<acct>"}`)), configuration, "Replication destination cannot be the same as the source registry"),
		at(put, "a region that nobody serves", rules(to(`{"region":"moon-west-9","registryId":"<acct>"}`)), configuration, "The replication destination region 'moon-west-9' is served neither by this deployment nor by one of its peers"),
		at(put, "a region of another partition", rules(to(`{"region":"cn-north-1","registryId":"<acct>"}`)), configuration, "The replication destination region 'cn-north-1' is in another partition than the source registry"),
		at(put, "an empty list of filters", filtered(""), configuration+".rules.1.member.repositoryFilters", "Member must have length greater than or equal to 1"),
		at(put, "a filter of one character", filtered(`{"filter":"a","filterType":"PREFIX_MATCH"}`), configuration+".rules.1.member.repositoryFilters.1.member.filter", "Member must have length greater than or equal to 2"),
		at(put, "a filter in upper case", filtered(`{"filter":"Prod","filterType":"PREFIX_MATCH"}`), configuration+".rules.1.member.repositoryFilters.1.member.filter", "Member must satisfy regular expression pattern: "+prefixes),
		at(put, "an unknown type of filter", filtered(`{"filter":"prod","filterType":"WILDCARD"}`), configuration+".rules.1.member.repositoryFilters.1.member.filterType", "Member must satisfy enum value set: [PREFIX_MATCH]"),
		at(status, "no image", `{"repositoryName":"<repo>"}`, "imageId", "Member must not be null"),
		{status, "a repository that is not there", `{"repositoryName":"<none>","imageId":{"imageTag":"v1"}}`, "RepositoryNotFoundException", "The repository with name '<none>' does not exist in the registry with id '<acct>'"},
		{status, "an image that is not there", `{"repositoryName":"<repo>","imageId":{"imageTag":"none"}}`, "ImageNotFoundException",
			"The image with imageId {imageDigest:'null', imageTag:'none'} does not exist within the repository with name '<repo>' in the registry with id '<acct>'"},
		at(start, "no destination", `{}`, "destination", "Member must not be null"),
		at(start, "a destination without a region", `{"destination":{"registryId":"<acct>"}}`, "destination.region", "Member must not be null"),
		at(start, "a destination that is not configured", `{"destination":{"region":"moon-west-9","registryId":"<acct>"}}`, "destination",
			"The destination with registry id '<acct>' in region 'moon-west-9' is not in the replication configuration of the registry with id '<acct>'. Add it with PutReplicationConfiguration first."),
		at(stop, "no id", `{}`, "replicationBackfillId", "Member must not be null"),
		{stop, "a backfill that is not there", `{"replicationBackfillId":"<none>"}`, "ReplicationBackfillNotFoundException", absent},
		at(list, "a page of 51", `{"maxResults":51}`, "maxResults", "Member must have value less than or equal to 50"),
		at(list, "a page of none", `{"maxResults":0}`, "maxResults", "Member must have value greater than or equal to 1"),
		at(list, "a page token of nobody", `{"nextToken":"x"}`, "nextToken", badToken),
		at(list, "a registry id that is none", `{"registryId":"x"}`, "registryId", "must satisfy regular expression '[0-9]{12}'"),
		{list, "another account's registry", `{"registryId":"111122223333"}`, "AccessDeniedException", foreign},
		at(results, "no id", `{}`, "replicationBackfillId", "Member must not be null"),
		at(results, "an unknown status", `{"replicationBackfillId":"<none>","resultStatusFilter":"STOPPED"}`, "resultStatusFilter", "Member must satisfy enum value set: [COMPLETE, FAILED]"),
		at(results, "a page of 1001", `{"replicationBackfillId":"<none>","maxResults":1001}`, "maxResults", "Member must have value less than or equal to 1000"),
		{results, "a backfill that is not there", `{"replicationBackfillId":"<none>"}`, "ReplicationBackfillNotFoundException", absent},
	}
}
