package replication_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/replication"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

const role = "AWSServiceRoleForECRReplication"

func to(reg name.Registry) types.ReplicationDestination {
	return types.ReplicationDestination{Region: sdk.String(string(reg.Region)), RegistryId: sdk.String(string(reg.Account))}
}

func configuration(prefixes ...string) *types.ReplicationConfiguration {
	r := types.ReplicationRule{Destinations: []types.ReplicationDestination{to(there)}}
	for _, p := range prefixes {
		r.RepositoryFilters = append(r.RepositoryFilters, types.RepositoryFilter{Filter: sdk.String(p), FilterType: types.RepositoryFilterTypePrefixMatch})
	}
	return &types.ReplicationConfiguration{Rules: []types.ReplicationRule{r}}
}

func (w *world) configure(c *types.ReplicationConfiguration) error {
	_, err := w.PutReplicationConfiguration(w.t.Context(), &ecr.PutReplicationConfigurationInput{ReplicationConfiguration: c})
	return err
}

func shown(c *types.ReplicationConfiguration) string {
	text := ""
	for _, r := range c.Rules {
		for _, d := range r.Destinations {
			text += *d.Region + "/" + *d.RegistryId + " "
		}
		for _, f := range r.RepositoryFilters {
			text += string(f.FilterType) + ":" + *f.Filter + " "
		}
		text += ";"
	}
	return text
}

func TestConfiguration(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	described := func() string {
		t.Helper()
		out, err := w.DescribeRegistry(ctx, &ecr.DescribeRegistryInput{})
		w.must(err)
		if *out.RegistryId != string(ours) || out.ReplicationConfiguration.Rules == nil {
			t.Errorf("%+v", out)
		}
		return shown(out.ReplicationConfiguration)
	}
	if got := described(); got != "" {
		t.Errorf("at first: %s", got)
	}
	put, err := w.PutReplicationConfiguration(ctx, &ecr.PutReplicationConfigurationInput{ReplicationConfiguration: configuration("prod", "team/")})
	w.must(err)
	const want = "eu-west-1/111111111111 PREFIX_MATCH:prod PREFIX_MATCH:team/ ;"
	if got := shown(put.ReplicationConfiguration); got != want || described() != want {
		t.Errorf("put %s, described %s", got, described())
	}
	w.refused("itself", w.configure(&types.ReplicationConfiguration{Rules: []types.ReplicationRule{{Destinations: []types.ReplicationDestination{to(here)}}}}), "InvalidParameterException",
		"Invalid parameter at 'replicationConfiguration' failed to satisfy constraint: 'Replication destination cannot be the same as the source registry'")
	if got := described(); got != want {
		t.Errorf("after a refusal: %s", got)
	}
	w.must(w.configure(&types.ReplicationConfiguration{Rules: []types.ReplicationRule{}}))
	if got := described(); got != "" {
		t.Errorf("at the end: %s", got)
	}
}

// The first configuration makes the service-linked role, which needs a permission
// of its own; with the role there it does not.
func TestServiceLinkedRole(t *testing.T) {
	w := newWorld(t)
	const put = `{"Effect":"Allow","Action":"ecr:PutReplicationConfiguration","Resource":"*"}`
	denied := func(user string) string {
		return "User: arn:aws:iam::111111111111:user/" + user + " is not authorized to perform: iam:CreateServiceLinkedRole on resource: arn:aws:iam::111111111111:role/aws-service-role/replication.ecr.amazonaws.com/" +
			role + " because no identity-based policy allows the iam:CreateServiceLinkedRole action"
	}
	making := func(service string) string {
		return put + `,{"Effect":"Allow","Action":"iam:CreateServiceLinkedRole","Resource":"*","Condition":{"StringEquals":{"iam:AWSServiceName":["` + service + `"]}}}`
	}
	w.as(ours, "one", put, func() {
		w.refused("without the permission", w.configure(configuration()), "AccessDeniedException", denied("one"))
	})
	w.as(ours, "two", making("pullthroughcache.ecr.amazonaws.com"), func() {
		w.refused("with it for another service", w.configure(configuration()), "AccessDeniedException", denied("two"))
	})
	if _, err := w.entities.Get(t.Context(), ours, entity.Role, role); err == nil {
		t.Error("the role is there after refusals")
	}
	w.as(ours, "three", making("replication.ecr.amazonaws.com"), func() { w.must(w.configure(configuration())) })
	if _, err := w.entities.Get(t.Context(), ours, entity.Role, role); err != nil {
		t.Error(err)
	}
	w.as(ours, "four", put, func() { w.must(w.configure(configuration("prod"))) })
	w.as(ours, "five", `{"Effect":"Allow","Action":"iam:*","Resource":"*"}`, func() {
		w.refused("without the action itself", w.configure(configuration()), "AccessDeniedException",
			"User: arn:aws:iam::111111111111:user/five is not authorized to perform: ecr:PutReplicationConfiguration on resource: * because no identity-based policy allows the ecr:PutReplicationConfiguration action")
	})
}

func TestStatus(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.must(w.configure(configuration()))
	w.put("app", "one", "v1")
	ask := func(repo string, id types.ImageIdentifier) (*ecr.DescribeImageReplicationStatusOutput, error) {
		return w.DescribeImageReplicationStatus(ctx, &ecr.DescribeImageReplicationStatusInput{RepositoryName: &repo, ImageId: &id})
	}
	out, err := ask("app", types.ImageIdentifier{ImageTag: sdk.String("v1")})
	w.must(err)
	if len(out.ReplicationStatuses) > 0 || out.ReplicationStatuses == nil || *out.RepositoryName != "app" || *out.ImageId.ImageTag != "v1" || *out.ImageId.ImageDigest != string(digest("one")) {
		t.Errorf("%+v %+v", out, out.ImageId)
	}
	w.must(w.db.Update(ctx, func(tx *sqldb.Tx) error {
		return w.replication.Subscribe(ctx, tx, event.Event{Registry: here, Kind: event.ImagePushed, Detail: event.ImageDetail{Repository: "app", Digest: digest("one"), Tag: "v1"}})
	}))
	out, err = ask("app", types.ImageIdentifier{ImageDigest: sdk.String(string(digest("one")))})
	w.must(err)
	if len(out.ReplicationStatuses) != 1 || out.ImageId.ImageTag != nil {
		t.Fatalf("%+v", out)
	}
	if s := out.ReplicationStatuses[0]; *s.Region != string(there.Region) || *s.RegistryId != string(ours) || s.Status != types.ReplicationStatusInProgress || s.FailureCode != nil {
		t.Errorf("%+v", s)
	}
	_, err = ask("none", types.ImageIdentifier{ImageTag: sdk.String("v1")})
	w.refused("no repository", err, "RepositoryNotFoundException", "The repository with name 'none' does not exist in the registry with id '111111111111'")
	_, err = ask("app", types.ImageIdentifier{ImageTag: sdk.String("v2")})
	w.refused("no image", err, "ImageNotFoundException", "The image with imageId {imageDigest:'null', imageTag:'v2'} does not exist within the repository with name 'app' in the registry with id '111111111111'")
	w.as(ours, "one", `{"Effect":"Allow","Action":"ecr:DescribeImageReplicationStatus","Resource":"arn:aws:ecr:us-east-1:111111111111:repository/app"}`, func() {
		_, err := ask("app", types.ImageIdentifier{ImageTag: sdk.String("v1")})
		w.must(err)
		_, err = ask("none", types.ImageIdentifier{ImageTag: sdk.String("v1")})
		w.refused("another repository", err, "AccessDeniedException", "User: arn:aws:iam::111111111111:user/one is not authorized to perform: ecr:DescribeImageReplicationStatus on resource: "+
			"arn:aws:ecr:us-east-1:111111111111:repository/none because no identity-based policy allows the ecr:DescribeImageReplicationStatus action")
	})
}

func TestBackfills(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.must(w.configure(configuration()))
	for i := range 3 {
		w.put("app", fmt.Sprint(i), fmt.Sprintf("v%d", i))
	}
	w.put("web", "bare")
	destination := to(there)
	began, err := w.StartReplicationBackfill(ctx, &ecr.StartReplicationBackfillInput{Destination: &destination, RegistryId: sdk.String(string(ours))})
	w.must(err)
	if *began.RegistryId != string(ours) || *began.Destination.Region != "eu-west-1" || *began.Destination.RegistryId != string(ours) || began.Status != types.ReplicationBackfillStatusPreparing || began.StartedAt.Year() != 2026 {
		t.Errorf("%+v", began)
	}
	id := *began.ReplicationBackfillId
	describe := func(filter types.ReplicationBackfillResultStatus) *ecr.DescribeReplicationBackfillResultsOutput {
		t.Helper()
		out, err := w.DescribeReplicationBackfillResults(ctx, &ecr.DescribeReplicationBackfillResultsInput{ReplicationBackfillId: &id, ResultStatusFilter: filter})
		w.must(err)
		return out
	}
	var now *ecr.DescribeReplicationBackfillResultsOutput
	for limit := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if now = describe(""); now.Progress != nil {
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("after %s: %+v", patience, now)
		}
	}
	if p := now.Progress; now.Status != types.ReplicationBackfillStatusInProgress || *p.TotalReplicationCount != 4 || *p.CompletedReplicationCount != 0 || p.FailureCodes == nil || now.EndedAt != nil || len(now.Results) > 0 {
		t.Errorf("%+v %+v", now, p)
	}
	_, err = w.StartReplicationBackfill(ctx, &ecr.StartReplicationBackfillInput{Destination: &destination})
	w.refused("twice", err, "ReplicationBackfillInProgressException", "A replication backfill to the region 'eu-west-1' is already in progress in the registry with id '111111111111'. Wait until it has ended, or stop it.")
	other := to(name.Registry{Account: theirs, Region: there.Region})
	_, err = w.StartReplicationBackfill(ctx, &ecr.StartReplicationBackfillInput{Destination: &other})
	w.refused("not configured", err, "InvalidParameterException", "Invalid parameter at 'destination' failed to satisfy constraint: 'The destination with registry id '222222222222' in region 'eu-west-1' "+
		"is not in the replication configuration of the registry with id '111111111111'. Add it with PutReplicationConfiguration first.'")

	// All four wait in the queue, until it is known what became of them.
	for limit := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		var n int
		w.must(w.db.View(ctx, func(tx *sqldb.Tx) error {
			return tx.QueryRow(ctx, `SELECT outstanding FROM replication_backfill`).Scan(&n)
		}))
		if n == 4 {
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("after %s %d are in the queue", patience, n)
		}
	}
	done := func(d replication.Done) {
		t.Helper()
		d.Backfill, d.Source, d.Destination = id, here, there
		w.must(w.db.Update(ctx, func(tx *sqldb.Tx) error { return w.backfills.DoneTx(ctx, tx, d) }))
	}
	done(replication.Done{Repository: "web", Digest: digest("bare")})
	done(replication.Done{Repository: "app", Digest: digest("0"), Tag: "v0", Code: "ReferencedImagesNotFound", Sub: []string{"ImageNotFound"}})
	stopped, err := w.StopReplicationBackfill(ctx, &ecr.StopReplicationBackfillInput{ReplicationBackfillId: &id})
	w.must(err)
	if stopped.Status != types.ReplicationBackfillStatusStopping || *stopped.ReplicationBackfillId != id || *stopped.Destination.Region != "eu-west-1" || *stopped.RegistryId != string(ours) || stopped.StartedAt == nil {
		t.Errorf("%+v", stopped)
	}
	done(replication.Done{Repository: "app", Digest: digest("1"), Tag: "v1"})
	done(replication.Done{Repository: "app", Digest: digest("2"), Tag: "v2", Code: "AccessDenied"})
	if now = describe(""); now.Status != types.ReplicationBackfillStatusStopped || now.EndedAt == nil || now.FailureCode != nil || *now.Progress.CompletedReplicationCount != 2 || *now.Progress.FailedReplicationCount != 2 ||
		fmt.Sprint(now.Progress.FailureCodes) != "[ReferencedImagesNotFound AccessDenied]" {
		t.Errorf("%+v %+v", now, now.Progress)
	}
	text := func(all []types.ReplicationBackfillResult) (lines []string) {
		for _, r := range all {
			lines = append(lines, fmt.Sprint(*r.RepositoryName, " ", (*r.ImageId.ImageDigest)[:12], " ", sdk.ToString(r.ImageId.ImageTag), " ", r.Status, " ", sdk.ToString(r.FailureCode), r.SubImageFailureCodes))
		}
		return lines
	}
	want := []string{
		"app " + string(digest("0"))[:12] + " v0 FAILED ReferencedImagesNotFound[ImageNotFound]", "app " + string(digest("1"))[:12] + " v1 COMPLETE []",
		"app " + string(digest("2"))[:12] + " v2 FAILED AccessDenied[]", "web " + string(digest("bare"))[:12] + "  COMPLETE []",
	}
	if got := text(now.Results); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := text(describe("FAILED").Results); !slices.Equal(got, []string{want[0], want[2]}) {
		t.Errorf("failed: %q", got)
	}
	var paged []types.ReplicationBackfillResult
	pages := 0
	for p := ecr.NewDescribeReplicationBackfillResultsPaginator(w, &ecr.DescribeReplicationBackfillResultsInput{ReplicationBackfillId: &id, MaxResults: sdk.Int32(3)}); p.HasMorePages(); pages++ {
		page, err := p.NextPage(ctx)
		w.must(err)
		paged = append(paged, page.Results...)
	}
	if got := text(paged); !slices.Equal(got, want) || pages != 2 {
		t.Errorf("%d pages: %q", pages, got)
	}
	first, err := w.DescribeReplicationBackfillResults(ctx, &ecr.DescribeReplicationBackfillResultsInput{ReplicationBackfillId: &id, MaxResults: sdk.Int32(1)})
	w.must(err)
	_, err = w.DescribeReplicationBackfillResults(ctx, &ecr.DescribeReplicationBackfillResultsInput{ReplicationBackfillId: &id, NextToken: first.NextToken, ResultStatusFilter: "FAILED"})
	w.refused("a token of another listing", err, "InvalidParameterException", "Invalid parameter at 'nextToken' failed to satisfy constraint: 'Invalid pagination token provided'")

	_, err = w.StopReplicationBackfill(ctx, &ecr.StopReplicationBackfillInput{ReplicationBackfillId: &id})
	w.refused("stopped twice", err, "ReplicationBackfillInvalidStatusException", "The replication backfill with id '"+id+"' in the registry with id '111111111111' cannot be stopped because its status is STOPPED")
	_, err = w.StopReplicationBackfill(ctx, &ecr.StopReplicationBackfillInput{ReplicationBackfillId: sdk.String("none")})
	w.refused("one that is not there", err, "ReplicationBackfillNotFoundException", "The replication backfill with id 'none' does not exist in the registry with id '111111111111'")

	again, err := w.StartReplicationBackfill(ctx, &ecr.StartReplicationBackfillInput{Destination: &destination})
	w.must(err)
	var ids []string
	for p := ecr.NewListReplicationBackfillsPaginator(w, &ecr.ListReplicationBackfillsInput{MaxResults: sdk.Int32(1)}); p.HasMorePages(); {
		page, err := p.NextPage(ctx)
		w.must(err)
		for _, b := range page.Backfills {
			ids = append(ids, *b.ReplicationBackfillId)
			if ended := *b.ReplicationBackfillId == id; ended != (b.EndedAt != nil) || ended != (b.Status == types.ReplicationBackfillStatusStopped) || *b.Destination.Region != "eu-west-1" || b.StartedAt == nil {
				t.Errorf("%+v", b)
			}
		}
	}
	if !slices.Equal(ids, []string{*again.ReplicationBackfillId, id}) {
		t.Errorf("listed %v", ids)
	}
}

// Each of the operations needs its own permission, and the caller's own registry.
func TestPermissions(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.must(w.configure(configuration()))
	w.registryPolicy(`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::222222222222:root"},"Action":"ecr:*","Resource":"*"}`)
	destination, id := to(there), "none"
	const absent = "The replication backfill with id 'none' does not exist in the registry with id '111111111111'"
	for i, op := range []struct {
		name, code, text string // what it answers where it is allowed
		call             func(registryID *string) error
	}{
		{"StartReplicationBackfill", "", "", func(r *string) error {
			_, err := w.StartReplicationBackfill(ctx, &ecr.StartReplicationBackfillInput{RegistryId: r, Destination: &destination})
			return err
		}},
		{"StopReplicationBackfill", "ReplicationBackfillNotFoundException", absent, func(r *string) error {
			_, err := w.StopReplicationBackfill(ctx, &ecr.StopReplicationBackfillInput{RegistryId: r, ReplicationBackfillId: &id})
			return err
		}},
		{"ListReplicationBackfills", "", "", func(r *string) error {
			_, err := w.ListReplicationBackfills(ctx, &ecr.ListReplicationBackfillsInput{RegistryId: r})
			return err
		}},
		{"DescribeReplicationBackfillResults", "ReplicationBackfillNotFoundException", absent, func(r *string) error {
			_, err := w.DescribeReplicationBackfillResults(ctx, &ecr.DescribeReplicationBackfillResultsInput{RegistryId: r, ReplicationBackfillId: &id})
			return err
		}},
	} {
		allow := `{"Effect":"Allow","Action":"ecr:` + op.name + `","Resource":"*"}`
		w.as(ours, fmt.Sprint("without", i), `{"Effect":"Allow","NotAction":"ecr:`+op.name+`","Resource":"*"}`, func() {
			w.refused(op.name, op.call(nil), "AccessDeniedException",
				fmt.Sprintf("User: arn:aws:iam::111111111111:user/without%d is not authorized to perform: ecr:%s on resource: * because no identity-based policy allows the ecr:%s action", i, op.name, op.name))
		})
		w.as(ours, fmt.Sprint("with", i), allow, func() {
			if err := op.call(nil); op.code != "" {
				w.refused(op.name, err, op.code, op.text)
			} else if err != nil {
				t.Errorf("%s: %v", op.name, err)
			}
		})
		w.as(theirs, fmt.Sprint("foreign", i), allow, func() {
			w.refused(op.name, op.call(sdk.String(string(ours))), "AccessDeniedException", "Replication backfills of the registry with id '111111111111' can be managed by callers of that account only")
		})
	}
	// Without a registry policy nothing lets another account in anyhow.
	_, err := w.registries.DeletePolicy(ctx, here, w.entities.ShowPrincipals)
	w.must(err)
	w.as(theirs, "stranger", `{"Effect":"Allow","Action":"*","Resource":"*"}`, func() {
		_, err := w.ListReplicationBackfills(ctx, &ecr.ListReplicationBackfillsInput{RegistryId: sdk.String(string(ours))})
		w.refused("a stranger", err, "AccessDeniedException", "User: arn:aws:iam::222222222222:user/stranger is not authorized to perform: ecr:ListReplicationBackfills on resource: "+
			"arn:aws:ecr:us-east-1:111111111111:repository/* because no resource-based policy allows the ecr:ListReplicationBackfills action")
	})
}
