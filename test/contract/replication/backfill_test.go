package replication

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/smithy-go"

	"github.com/berth-registry/berth/test/contract/harness"
)

// refused compares the name of an API's exception.
func refused(t *testing.T, what string, err error, want string) {
	t.Helper()
	var failed smithy.APIError
	if !errors.As(err, &failed) || failed.ErrorCode() != want {
		t.Errorf("%s: %v, want %s", what, err, want)
	}
}

// start starts a backfill and returns its id.
func (p *place) start(t *testing.T, to *place) string {
	t.Helper()
	out, err := p.api.StartReplicationBackfill(t.Context(), &ecr.StartReplicationBackfillInput{Destination: &types.ReplicationDestination{Region: &to.region, RegistryId: &to.account}})
	if err != nil {
		t.Fatal(err)
	}
	if *out.Destination.Region != to.region || *out.Destination.RegistryId != to.account || *out.RegistryId != p.account || out.StartedAt == nil {
		t.Errorf("%+v", out)
	}
	return *out.ReplicationBackfillId
}

// backfill describes one, with the first page of its results.
func (p *place) backfill(t *testing.T, id string) *ecr.DescribeReplicationBackfillResultsOutput {
	t.Helper()
	out, err := p.api.DescribeReplicationBackfillResults(t.Context(), &ecr.DescribeReplicationBackfillResultsInput{ReplicationBackfillId: &id})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// over waits until a backfill has ended.
func (p *place) over(t *testing.T, id string, want types.ReplicationBackfillStatus) *ecr.DescribeReplicationBackfillResultsOutput {
	t.Helper()
	var out *ecr.DescribeReplicationBackfillResultsOutput
	eventually(t, "the end of a backfill", func() bool { out = p.backfill(t, id); return out.EndedAt != nil })
	if out.Status != want {
		t.Fatalf("the backfill is %s (%s), want %s", out.Status, aws.ToString(out.FailureCode), want)
	}
	return out
}

// results reads all pages, "repository digest tag status" each.
func (p *place) results(t *testing.T, id string, filter types.ReplicationBackfillResultStatus, page int32) (all map[string]bool, pages int) {
	t.Helper()
	all = map[string]bool{}
	for in := (&ecr.DescribeReplicationBackfillResultsInput{ReplicationBackfillId: &id, ResultStatusFilter: filter, MaxResults: &page}); ; {
		out, err := p.api.DescribeReplicationBackfillResults(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		pages++
		if len(out.Results) > int(page) {
			t.Errorf("a page of %d results, %d were asked for", len(out.Results), page)
		}
		for _, r := range out.Results {
			line := fmt.Sprint(*r.RepositoryName, " ", *r.ImageId.ImageDigest, " ", aws.ToString(r.ImageId.ImageTag), " ", r.Status, " ", aws.ToString(r.FailureCode))
			if all[line] {
				t.Errorf("%s is there twice", line)
			}
			all[line] = true
		}
		if out.NextToken == nil {
			return all, pages
		}
		in.NextToken = out.NextToken
	}
}

// tags reads all tags of a repository with their digests.
func (p *place) tags(t *testing.T, repo string) map[string]string {
	t.Helper()
	all := map[string]string{}
	pages := ecr.NewListImagesPaginator(p.api, &ecr.ListImagesInput{RepositoryName: &repo, MaxResults: aws.Int32(1000)})
	for pages.HasMorePages() {
		out, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range out.ImageIds {
			all[aws.ToString(id.ImageTag)] = *id.ImageDigest
		}
	}
	return all
}

// pushSmall pushes images that share a layer, tagged t0, t1 ...
func pushSmall(t *testing.T, p *place, repo string, images int) {
	t.Helper()
	p.create(t, repo)
	layer := harness.Random(7, 50_000)
	digest, err := p.PutBlob(t.Context(), repo, layer)
	if err != nil {
		t.Fatal(err)
	}
	var pushing sync.WaitGroup
	const clients = 8
	for c := range clients {
		pushing.Go(func() {
			for n := c; n < images; n += clients {
				text := fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","config":{"Labels":{"n":"%s %d"}}}`, repo, n)
				d, err := p.PutBlob(t.Context(), repo, text)
				raw := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
					harness.OCIImage, harness.OCIConfig, d, len(text), harness.OCILayer, digest, len(layer))
				if err == nil {
					err = p.PutManifest(t.Context(), repo, fmt.Sprintf("t%d", n), harness.OCIImage, raw)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	pushing.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// TestBackfill sends 1,000 images that were there before the configuration, stopped
// in the middle and started again.
func TestBackfill(t *testing.T) {
	p := newPair(t, "", harness.Options{})
	other := &place{account: accountB, region: ireland} // has no registry policy
	_, _ = p.two.CreateAccount(t, accountB)
	const repos, each = 5, 200
	for r := range repos {
		pushSmall(t, p.east, fmt.Sprintf("old/%d", r), each)
	}
	pushSmall(t, p.east, "denied/app", 3)
	ctx := t.Context()
	to := func(region, account string) *ecr.StartReplicationBackfillInput {
		return &ecr.StartReplicationBackfillInput{Destination: &types.ReplicationDestination{Region: &region, RegistryId: &account}}
	}
	_, err := p.east.api.StartReplicationBackfill(ctx, to(ireland, accountA))
	refused(t, "to a destination that is not configured", err, "InvalidParameterException")
	p.east.replicate(t, rule([]string{"old/"}, p.ireland), rule([]string{"denied/"}, other))
	if got := p.east.status(t, "old/0", "t0", p.ireland); got != "" {
		t.Errorf("an image from before the configuration is %q", got)
	}
	_, err = p.east.api.StartReplicationBackfill(ctx, to(west, accountA))
	refused(t, "to a destination that is not configured", err, "InvalidParameterException")
	nobody := "00000000-0000-4000-8000-000000000000"
	_, err = p.east.api.StopReplicationBackfill(ctx, &ecr.StopReplicationBackfillInput{ReplicationBackfillId: &nobody})
	refused(t, "stopping what is not there", err, "ReplicationBackfillNotFoundException")
	_, err = p.east.api.DescribeReplicationBackfillResults(ctx, &ecr.DescribeReplicationBackfillResultsInput{ReplicationBackfillId: &nobody})
	refused(t, "describing what is not there", err, "ReplicationBackfillNotFoundException")

	first := p.east.start(t, p.ireland)
	_, err = p.east.api.StartReplicationBackfill(ctx, to(ireland, accountA))
	refused(t, "a second one to the same destination", err, "ReplicationBackfillInProgressException")
	eventually(t, "the backfill to be in the middle", func() bool {
		now := p.east.backfill(t, first).Progress
		return now != nil && *now.CompletedReplicationCount >= 100
	})
	stopped, err := p.east.api.StopReplicationBackfill(ctx, &ecr.StopReplicationBackfillInput{ReplicationBackfillId: &first})
	if err != nil || stopped.Status != types.ReplicationBackfillStatusStopping && stopped.Status != types.ReplicationBackfillStatusStopped {
		t.Fatalf("%+v %v", stopped, err)
	}
	end := p.east.over(t, first, types.ReplicationBackfillStatusStopped)
	done := int(*end.Progress.CompletedReplicationCount)
	t.Logf("stopped with %d of %d images sent", done, *end.Progress.TotalReplicationCount)
	if *end.Progress.TotalReplicationCount != repos*each || done >= repos*each || *end.Progress.FailedReplicationCount != 0 {
		t.Errorf("%+v", end.Progress)
	}
	if all, _ := p.east.results(t, first, "", 1000); len(all) != done {
		t.Errorf("%d results of a stopped backfill, %d images were sent", len(all), done)
	}
	_, err = p.east.api.StopReplicationBackfill(ctx, &ecr.StopReplicationBackfillInput{ReplicationBackfillId: &first})
	refused(t, "stopping it again", err, "ReplicationBackfillInvalidStatusException")
	there := 0
	for r := range repos {
		if p.ireland.exists(t, fmt.Sprintf("old/%d", r)) {
			there += len(p.ireland.tags(t, fmt.Sprintf("old/%d", r)))
		}
	}
	if there != done {
		t.Errorf("%d images are at the destination, %d were sent", there, done)
	}

	denied := p.east.start(t, other)
	end = p.east.over(t, denied, types.ReplicationBackfillStatusComplete)
	if pr := end.Progress; *pr.TotalReplicationCount != 3 || *pr.FailedReplicationCount != 3 || *pr.CompletedReplicationCount != 0 || len(pr.FailureCodes) != 1 || pr.FailureCodes[0] != "AccessDenied" {
		t.Errorf("%+v", pr)
	}
	if all, _ := p.east.results(t, denied, types.ReplicationBackfillResultStatusFailed, 2); len(all) != 3 {
		t.Errorf("the failed: %v", all)
	} else {
		for line := range all {
			if !strings.HasPrefix(line, "denied/app sha256:") || !strings.HasSuffix(line, " FAILED AccessDenied") {
				t.Errorf("%s", line)
			}
		}
	}
	if all, _ := p.east.results(t, denied, types.ReplicationBackfillResultStatusComplete, 100); len(all) != 0 {
		t.Errorf("not failed: %v", all)
	}
	second := p.east.start(t, p.ireland)
	end = p.east.over(t, second, types.ReplicationBackfillStatusComplete)
	t.Logf("%d images: %s", *end.Progress.TotalReplicationCount, end.EndedAt.Sub(*end.StartedAt))
	if pr := end.Progress; *pr.TotalReplicationCount != repos*each || *pr.CompletedReplicationCount != repos*each || *pr.FailedReplicationCount != 0 || len(pr.FailureCodes) != 0 {
		t.Errorf("%+v", pr)
	}
	all, pages := p.east.results(t, second, types.ReplicationBackfillResultStatusComplete, 150)
	if pages < repos*each/150 {
		t.Errorf("%d results in %d pages", len(all), pages)
	}
	if none, _ := p.east.results(t, second, types.ReplicationBackfillResultStatusFailed, 150); len(none) != 0 {
		t.Errorf("failed: %v", none)
	}
	want := map[string]bool{}
	for r := range repos {
		repo := fmt.Sprintf("old/%d", r)
		here := p.east.tags(t, repo)
		for tag, digest := range here {
			want[repo+" "+digest+" "+tag+" COMPLETE "] = true
		}
		if there := p.ireland.tags(t, repo); len(here) != each || !maps.Equal(here, there) {
			t.Errorf("%s: %d tags here, %d there, or on other images", repo, len(here), len(there))
		}
		same(t, repo, "t0", p.east, p.ireland)
		same(t, repo, fmt.Sprintf("t%d", each-1), p.east, p.ireland)
	}
	if !maps.Equal(all, want) {
		t.Errorf("%d results, want %d", len(all), len(want))
	}
	if got := p.east.status(t, "old/3", "t42", p.ireland); got != "COMPLETE" {
		t.Errorf("the status of a backfilled image is %q", got)
	}

	listed := map[string]types.ReplicationBackfillStatus{}
	for in := (&ecr.ListReplicationBackfillsInput{MaxResults: aws.Int32(1)}); ; {
		out, err := p.east.api.ListReplicationBackfills(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range out.Backfills {
			listed[*b.ReplicationBackfillId] = b.Status
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			break
		}
	}
	if wanted := map[string]types.ReplicationBackfillStatus{first: "STOPPED", second: "COMPLETE", denied: "COMPLETE"}; !maps.Equal(listed, wanted) {
		t.Errorf("listed: %v, want %v", listed, wanted)
	}
}

// exists says whether there is a repository.
func (p *place) exists(t *testing.T, repo string) bool {
	t.Helper()
	_, err := p.api.DescribeRepositories(t.Context(), &ecr.DescribeRepositoriesInput{RepositoryNames: []string{repo}})
	var missing *types.RepositoryNotFoundException
	if err != nil && !errors.As(err, &missing) {
		t.Fatal(err)
	}
	return err == nil
}
