package replication

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/test/contract/harness"
)

// world is two deployments, three regions and two accounts, that replicate.
type world struct {
	*pair
	// a and b are the accounts' registries; bEast of account B in the first region.
	aWest, bEast, bIreland *place
}

// TestTwoDeployments goes through the considerations of ECR's guide to replication,
// and Berth's options, with the second deployment on PostgreSQL and object storage.
func TestTwoDeployments(t *testing.T) {
	w := &world{pair: newPair(t, "", harness.Options{Shape: harness.ScaleOut})}
	w.aWest = at(t, w.one, accountA, west, rootKey(w.one))
	id, secret := w.one.CreateAccount(t, accountB)
	w.bEast = at(t, w.one, accountB, east, key{id, secret})
	id, secret = w.two.CreateAccount(t, accountB)
	w.bIreland = at(t, w.two, accountB, ireland, key{id, secret})

	t.Run("FirstConfiguration", w.firstConfiguration)
	for name, part := range map[string]func(*testing.T){
		"Regions": w.regions, "OneHop": w.oneHop, "Accounts": w.accounts, "PeersAccounts": w.peersAccounts, "ImmutableTag": w.immutableTag,
		"Settings": w.settings, "Archive": w.archive, "Options": w.options,
	} {
		t.Run(name, part)
	}
	t.Run("LastConfiguration", w.lastConfiguration)
	w.one.MustFsck(t)
	w.two.MustFsck(t)
}

const roleName = "AWSServiceRoleForECRReplication"

// rules are account A's in the first region.
func (w *world) rules() []types.ReplicationRule {
	return []types.ReplicationRule{
		rule([]string{"shared/"}, w.aWest, w.ireland),
		rule([]string{"hop/"}, w.aWest),
		rule([]string{"partner/"}, w.bIreland),
		rule([]string{"neighbour/"}, w.bEast),
	}
}

func (w *world) firstConfiguration(t *testing.T) {
	var missing *iamtypes.NoSuchEntityException
	if _, err := w.east.iam.GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String(roleName)}); !errors.As(err, &missing) {
		t.Errorf("the role before the first configuration: %v", err)
	}
	w.east.create(t, "shared/before")
	w.east.PushImage(t, "shared/before", "v1", 1, 1000)
	nowhere := rule(nil, &place{account: accountA, region: "ap-south-1"})
	_, err := w.east.api.PutReplicationConfiguration(t.Context(), &ecr.PutReplicationConfigurationInput{ReplicationConfiguration: &types.ReplicationConfiguration{Rules: []types.ReplicationRule{nowhere}}})
	refused(t, "a region that nobody serves", err, "InvalidParameterException")
	w.east.replicate(t, w.rules()...)
	role, err := w.east.iam.GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String(roleName)})
	if err != nil || !strings.Contains(*role.Role.Arn, ":role/aws-service-role/replication.ecr.amazonaws.com/") {
		t.Errorf("the role after the first configuration: %+v %v", role, err)
	}
	if status := w.deleteRole(t); status != iamtypes.DeletionTaskStatusTypeFailed {
		t.Errorf("the role's deletion while it is used: %s", status)
	}
	out, err := w.east.api.DescribeRegistry(t.Context(), &ecr.DescribeRegistryInput{})
	if err != nil || len(out.ReplicationConfiguration.Rules) != len(w.rules()) || *out.RegistryId != accountA {
		t.Errorf("%+v %v", out, err)
	}
	if w.aWest.exists(t, "shared/before") || w.east.status(t, "shared/before", "v1", w.ireland) != "" {
		t.Error("an image from before the configuration is replicated")
	}
}

// deleteRole asks for the role's deletion and says what became of it.
func (w *world) deleteRole(t *testing.T) iamtypes.DeletionTaskStatusType {
	t.Helper()
	task, err := w.east.iam.DeleteServiceLinkedRole(t.Context(), &iam.DeleteServiceLinkedRoleInput{RoleName: aws.String(roleName)})
	if err != nil {
		t.Fatal(err)
	}
	out, err := w.east.iam.GetServiceLinkedRoleDeletionStatus(t.Context(), &iam.GetServiceLinkedRoleDeletionStatusInput{DeletionTaskId: task.DeletionTaskId})
	if err != nil {
		t.Fatal(err)
	}
	return out.Status
}

func (w *world) lastConfiguration(t *testing.T) {
	for _, p := range []*place{w.east, w.aWest} {
		if status := w.deleteRole(t); status != iamtypes.DeletionTaskStatusTypeFailed {
			t.Errorf("the role's deletion while %s replicates: %s", p, status)
		}
		p.replicate(t)
	}
	if status := w.deleteRole(t); status != iamtypes.DeletionTaskStatusTypeSucceeded {
		t.Errorf("the role's deletion after the last configuration: %s", status)
	}
	w.east.PushImage(t, "shared/before", "after", 2, 1000)
	if got := w.east.status(t, "shared/before", "after", w.ireland); got != "" {
		t.Errorf("an image from after the last configuration: %q", got)
	}
}

// regions: an index of two images, with an artifact that refers to it, in another
// region of the deployment and at the peer.
func (w *world) regions(t *testing.T) {
	const repo = "shared/app"
	w.east.create(t, repo)
	index := harness.Manifest{SchemaVersion: 2, MediaType: harness.OCIIndex}
	for n, arch := range []string{"amd64", "arm64"} {
		d := w.east.PushImage(t, repo, "", uint64(20+n), 300_000)
		d.Platform = &harness.Platform{OS: "linux", Architecture: arch}
		index.Manifests = append(index.Manifests, d)
	}
	whole := w.east.PushManifest(t, repo, "v1", harness.OCIIndex, index.Bytes(t))
	artifact := harness.Manifest{SchemaVersion: 2, MediaType: harness.OCIImage, ArtifactType: "application/vnd.example.signature",
		Config: pushConfig(t, w.east, repo, "{}"), Layers: []harness.Descriptor{pushStream(t, w.east, repo, 3, 500)}, Subject: &whole}
	artifact.Config.MediaType = harness.OCIEmpty
	signature := w.east.PushManifest(t, repo, "", harness.OCIImage, artifact.Bytes(t))
	for _, to := range []*place{w.aWest, w.ireland} {
		for _, ref := range []string{"v1", whole.Digest, index.Manifests[0].Digest, index.Manifests[1].Digest, signature.Digest} {
			w.east.arrives(t, repo, ref, to)
			same(t, repo, ref, w.east, to)
		}
		a, err := to.Do(t.Context(), harness.Request{Method: http.MethodGet, Path: "/v2/" + repo + "/referrers/" + whole.Digest}, http.StatusOK)
		if err != nil || !strings.Contains(string(a.Body), signature.Digest) {
			t.Errorf("the referrers at %s: %s %v", to, a.Body, err)
		}
	}
	// Docker's forms are copied byte by byte, too.
	raw := harness.Manifest{SchemaVersion: 2, MediaType: harness.DockerImage, Config: pushConfig(t, w.east, repo, `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`)}
	l := pushStream(t, w.east, repo, 4, 70_000)
	l.MediaType = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	raw.Config.MediaType, raw.Layers = harness.DockerConfig, []harness.Descriptor{l}
	w.east.PushManifest(t, repo, "docker", harness.DockerImage, raw.Bytes(t))
	for _, to := range []*place{w.aWest, w.ireland} {
		w.east.arrives(t, repo, "docker", to)
		same(t, repo, "docker", w.east, to)
	}
}

// oneHop: what has come by replication is not copied on.
func (w *world) oneHop(t *testing.T) {
	w.aWest.replicate(t, rule([]string{"hop/"}, w.ireland))
	w.east.create(t, "hop/app")
	w.east.PushImage(t, "hop/app", "pushed-in-the-east", 30, 10_000)
	w.east.arrives(t, "hop/app", "pushed-in-the-east", w.aWest)
	w.aWest.PushImage(t, "hop/app", "pushed-in-the-west", 31, 10_000)
	w.aWest.arrives(t, "hop/app", "pushed-in-the-west", w.ireland)
	if got := w.aWest.status(t, "hop/app", "pushed-in-the-east", w.ireland); got != "" {
		t.Errorf("an image that came by replication is to be copied on: %q", got)
	}
	if got := w.ireland.tags(t, "hop/app"); len(got) != 1 || got["pushed-in-the-west"] == "" {
		t.Errorf("two hops away are %v", got)
	}
}

// policy sets the statement of the guide as the registry policy.
func (p *place) policy(t *testing.T, source string, actions ...string) {
	t.Helper()
	text, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": []any{map[string]any{
		"Sid": "ReplicationAccessCrossAccount", "Effect": "Allow", "Principal": map[string]string{"AWS": "arn:aws:iam::" + source + ":root"},
		"Action": actions, "Resource": []string{"arn:aws:ecr:" + p.region + ":" + p.account + ":repository/*"},
	}}})
	if err == nil {
		_, err = p.api.PutRegistryPolicy(t.Context(), &ecr.PutRegistryPolicyInput{PolicyText: aws.String(string(text))})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// accounts: another account's registry policy has to allow it, at the peer and here.
func (w *world) accounts(t *testing.T) {
	const denied = "FAILED AccessDenied"
	for n, c := range []struct {
		prefix string
		to     *place
	}{{"partner/", w.bIreland}, {"neighbour/", w.bEast}} {
		app, other := c.prefix+"app", c.prefix+"other"
		seed := uint64(40 + 10*n)
		w.east.create(t, app, other)
		w.east.PushImage(t, app, "v1", seed, 10_000)
		w.east.ends(t, app, "v1", c.to, denied)
		if c.to.exists(t, app) {
			t.Errorf("%s was made at %s without permission", app, c.to)
		}
		// With the guide's policy.
		c.to.policy(t, accountA, "ecr:CreateRepository", "ecr:ReplicateImage")
		w.east.PushImage(t, app, "v2", seed+1, 10_000)
		w.east.arrives(t, app, "v2", c.to)
		same(t, app, "v2", w.east, c.to)
		if c.to.has(t, app, "v1") {
			t.Errorf("%s: what was refused has come later", app)
		}
		// Without ecr:CreateRepository: a missing repository has to be made by hand.
		c.to.policy(t, accountA, "ecr:ReplicateImage")
		w.east.PushImage(t, other, "v1", seed+2, 10_000)
		w.east.ends(t, other, "v1", c.to, denied)
		w.east.PushImage(t, app, "v3", seed+3, 10_000)
		w.east.arrives(t, app, "v3", c.to)
		if c.to.exists(t, other) {
			t.Errorf("%s was made at %s without permission", other, c.to)
		}
		c.to.create(t, other)
		w.east.PushImage(t, other, "v2", seed+4, 10_000)
		w.east.arrives(t, other, "v2", c.to)
		same(t, other, "v2", w.east, c.to)
		// Taken away.
		if _, err := c.to.api.DeleteRegistryPolicy(t.Context(), &ecr.DeleteRegistryPolicyInput{}); err != nil {
			t.Fatal(err)
		}
		w.east.PushImage(t, app, "v4", seed+5, 10_000)
		w.east.ends(t, app, "v4", c.to, denied)
		if c.to.has(t, app, "v4") || !c.to.has(t, app, "v3") {
			t.Errorf("%s at %s after the permission was taken away: %v", app, c.to, c.to.tags(t, app))
		}
	}
	w.recorded(t, accountA, []string{
		"ReplicateImage AccessDenied partner/app", "CreateRepository  partner/app", "ReplicateImage  partner/app",
		"CreateRepository AccessDenied partner/other", "ReplicateImage  partner/other",
	}, []string{"partner/app FAILED AccessDenied", "partner/app SUCCESS", "partner/other FAILED AccessDenied", "partner/other SUCCESS"})
}

// peersAccounts: a deployment sends only what belongs to accounts that the other one
// has been told of.
func (w *world) peersAccounts(t *testing.T) {
	w.bEast.create(t, "own/app")
	w.bEast.replicate(t, rule([]string{"own/"}, w.bIreland))
	w.bEast.PushImage(t, "own/app", "v1", 60, 10_000)
	w.bEast.ends(t, "own/app", "v1", w.bIreland, "FAILED AccessDenied")
	if w.bIreland.exists(t, "own/app") {
		t.Error("a repository of an account that the peer may not speak for was made")
	}
	run(t, w.two, w.two.Data, "peer", "add", "here", "--replace", "--url", "http://"+w.one.Addr, "--key", run(t, w.one, w.one.Data, "peer", "key"), "--accounts", accountA+","+accountB, "--insecure-http")
	w.bEast.PushImage(t, "own/app", "v2", 61, 10_000)
	w.bEast.arrives(t, "own/app", "v2", w.bIreland)
	same(t, "own/app", "v2", w.bEast, w.bIreland)
	w.recorded(t, accountB, []string{"CreateRepository  own/app", "ReplicateImage  own/app"}, []string{"own/app SUCCESS"})
	// A new key, while both go on.
	run(t, w.one, w.one.Data, "peer", "rotate")
	w.bEast.PushImage(t, "own/app", "v3", 62, 10_000)
	w.bEast.arrives(t, "own/app", "v3", w.bIreland)
}

// immutableTag: at the destination it keeps its image, and the new one comes without.
func (w *world) immutableTag(t *testing.T) {
	const repo = "shared/immutable"
	if _, err := w.ireland.api.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: aws.String(repo), ImageTagMutability: types.ImageTagMutabilityImmutable}); err != nil {
		t.Fatal(err)
	}
	own := w.ireland.PushImage(t, repo, "v1", 70, 10_000)
	w.east.create(t, repo)
	sent := w.east.PushImage(t, repo, "v1", 71, 10_000)
	w.east.arrives(t, repo, "v1", w.ireland)
	if got := w.ireland.Verify(t, repo, "v1").Digest; got != own.Digest {
		t.Errorf("the immutable tag is on %s, want %s", got, own.Digest)
	}
	same(t, repo, sent.Digest, w.east, w.ireland)
	out, err := w.ireland.api.DescribeImages(t.Context(), &ecr.DescribeImagesInput{RepositoryName: aws.String(repo), ImageIds: []types.ImageIdentifier{*imageID(sent.Digest)}})
	if err != nil || len(out.ImageDetails) != 1 || len(out.ImageDetails[0].ImageTags) != 0 {
		t.Errorf("the image without the tag: %+v %v", out, err)
	}
	if got := w.aWest.Verify(t, repo, "v1").Digest; got != sent.Digest {
		t.Errorf("where it was free the tag is on %s", got)
	}
}

// settings are not copied; the template for replication at the destination holds.
func (w *world) settings(t *testing.T) {
	const lifecycle = `{"rules":[{"rulePriority":1,"selection":{"tagStatus":"untagged","countType":"imageCountMoreThan","countNumber":50},"action":{"type":"expire"}}]}`
	const access = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + accountB + `"},"Action":"ecr:BatchGetImage"}]}`
	_, err := w.ireland.api.CreateRepositoryCreationTemplate(t.Context(), &ecr.CreateRepositoryCreationTemplateInput{
		Prefix: aws.String("shared/templated"), AppliedFor: []types.RCTAppliedFor{types.RCTAppliedForReplication}, ImageTagMutability: types.ImageTagMutabilityImmutable,
		LifecyclePolicy: aws.String(lifecycle), RepositoryPolicy: aws.String(access),
	})
	if err != nil {
		t.Fatal(err)
	}
	for n, c := range []struct {
		repo      string
		templated bool
	}{{"shared/plain", false}, {"shared/templated/app", true}} {
		_, err := w.east.api.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: &c.repo, ImageTagMutability: types.ImageTagMutabilityImmutable,
			ImageScanningConfiguration: &types.ImageScanningConfiguration{ScanOnPush: true}, Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("source")}}})
		if err == nil {
			_, err = w.east.api.PutLifecyclePolicy(t.Context(), &ecr.PutLifecyclePolicyInput{RepositoryName: &c.repo, LifecyclePolicyText: aws.String(strings.Replace(lifecycle, "50", "7", 1))})
		}
		if err != nil {
			t.Fatal(err)
		}
		w.east.PushImage(t, c.repo, "v1", uint64(80+n), 10_000)
		w.east.arrives(t, c.repo, "v1", w.ireland)
		out, err := w.ireland.api.DescribeRepositories(t.Context(), &ecr.DescribeRepositoriesInput{RepositoryNames: []string{c.repo}})
		if err != nil {
			t.Fatal(err)
		}
		r := out.Repositories[0]
		if (r.ImageTagMutability == types.ImageTagMutabilityImmutable) != c.templated || r.ImageScanningConfiguration.ScanOnPush {
			t.Errorf("%s: %s, scanned %t", c.repo, r.ImageTagMutability, r.ImageScanningConfiguration.ScanOnPush)
		}
		if tags, err := w.ireland.api.ListTagsForResource(t.Context(), &ecr.ListTagsForResourceInput{ResourceArn: r.RepositoryArn}); err != nil || len(tags.Tags) != 0 {
			t.Errorf("%s has resource tags: %+v %v", c.repo, tags, err)
		}
		policy, err := w.ireland.api.GetLifecyclePolicy(t.Context(), &ecr.GetLifecyclePolicyInput{RepositoryName: &c.repo})
		var none *types.LifecyclePolicyNotFoundException
		if c.templated && (err != nil || !strings.Contains(*policy.LifecyclePolicyText, "50")) || !c.templated && !errors.As(err, &none) {
			t.Errorf("%s: the lifecycle policy %+v %v", c.repo, policy, err)
		}
		_, err = w.ireland.api.GetRepositoryPolicy(t.Context(), &ecr.GetRepositoryPolicyInput{RepositoryName: &c.repo})
		var without *types.RepositoryPolicyNotFoundException
		if c.templated && err != nil || !c.templated && !errors.As(err, &without) {
			t.Errorf("%s: the policy: %v", c.repo, err)
		}
	}
}

// archive: an image that was archived at the destination is active when it comes
// again.
func (w *world) archive(t *testing.T) {
	const repo = "shared/archive"
	w.east.create(t, repo)
	image := w.east.PushImage(t, repo, "v1", 90, 10_000)
	w.east.arrives(t, repo, "v1", w.ireland)
	if _, err := w.ireland.api.UpdateImageStorageClass(t.Context(), &ecr.UpdateImageStorageClassInput{RepositoryName: aws.String(repo), ImageId: imageID(image.Digest), TargetStorageClass: types.TargetStorageClassArchive}); err != nil {
		t.Fatal(err)
	}
	if w.ireland.has(t, repo, "v1") {
		t.Error("an archived image can be pulled")
	}
	w.east.PushImage(t, repo, "v2", 90, 10_000)
	w.east.arrives(t, repo, "v2", w.ireland)
	same(t, repo, "v2", w.east, w.ireland)
}

// remove deletes a tag or an image.
func (p *place) remove(t *testing.T, repo, ref string) {
	t.Helper()
	out, err := p.api.BatchDeleteImage(t.Context(), &ecr.BatchDeleteImageInput{RepositoryName: &repo, ImageIds: []types.ImageIdentifier{*imageID(ref)}})
	if err != nil || len(out.Failures) > 0 {
		t.Fatalf("%+v %v", out, err)
	}
}

// options are Berth's own: deletions, removed tags, and which tags are copied.
func (w *world) options(t *testing.T) {
	const repo = "shared/options"
	w.east.create(t, repo)
	set := func(args ...string) {
		run(t, w.one, w.one.Data, append([]string{"replication", "options", "--region", east, "--to", ireland}, args...)...)
	}
	push := func(ref string, seed uint64) string {
		d := w.east.PushImage(t, repo, ref, seed, 10_000)
		w.east.arrives(t, repo, ref, w.aWest)
		return d.Digest
	}
	// Deletions are not copied.
	gone := push("gone", 100)
	w.east.arrives(t, repo, "gone", w.ireland)
	w.east.remove(t, repo, gone)
	push("next", 101)
	w.east.arrives(t, repo, "next", w.ireland)
	if !w.ireland.has(t, repo, "gone") {
		t.Error("a deletion was copied without being asked for")
	}
	set("--deletes", "--untags")
	both := push("one", 102)
	push("two", 102)
	w.east.arrives(t, repo, both, w.ireland)
	w.east.remove(t, repo, "one")
	eventually(t, "the tag to go", func() bool { return !w.ireland.has(t, repo, "one") })
	if !w.ireland.has(t, repo, "two") {
		t.Error("the other tag has gone as well")
	}
	w.east.remove(t, repo, both)
	eventually(t, "the image to go", func() bool { return !w.ireland.has(t, repo, both) })
	for _, ref := range []string{"one", "two", both} {
		if !w.aWest.has(t, repo, ref) {
			t.Errorf("%s has gone where deletions are not copied", ref)
		}
	}
	set("--clear", "--tags", "release-*")
	push("dev", 103)
	push("release-1", 104)
	w.east.arrives(t, repo, "release-1", w.ireland)
	if got := w.east.status(t, repo, "dev", w.ireland); got != "" || w.ireland.has(t, repo, "dev") {
		t.Errorf("a tag that no filter fits: %q", got)
	}
	if text := run(t, w.one, w.one.Data, "replication", "list"); !strings.Contains(text, "--tags release-*") {
		t.Errorf("berth replication list:\n%s", text)
	}
	set("--clear")
	push("dev", 105)
	w.east.arrives(t, repo, "dev", w.ireland)
}

// recorded waits until the second deployment's trail of account B has the lines "call
// error repository", made by the role of a source, and compares its events with
// "repository result code".
func (w *world) recorded(t *testing.T, source string, calls, events []string) {
	t.Helper()
	db, err := sqldb.OpenPostgres(t.Context(), sqldb.PostgresOptions{URL: w.two.Backing.DatabaseURL, MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }() // it was only read
	ask := func(query string, out any) {
		var all []string
		err := db.View(t.Context(), func(tx *sqldb.Tx) (err error) {
			all, err = sqldb.Collect(t.Context(), tx, func(row sqldb.Scanner) (text string, err error) { return text, row.Scan(&text) }, query)
			return err
		})
		if err == nil {
			err = json.Unmarshal([]byte("["+strings.Join(all, ",")+"]"), out)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	caller := "arn:aws:sts::" + source + ":assumed-role/" + roleName + "/replication"
	eventually(t, fmt.Sprintf("%q in the trail", calls), func() bool {
		type record struct {
			EventName, ErrorCode string
			UserIdentity         struct{ ARN string }
			RequestParameters    struct{ RepositoryName string }
		}
		var records []record
		stored, err := audit.NewTrail(db, slog.New(slog.DiscardHandler), audit.Options{}).After(t.Context(), accountB, ireland, 0, 10_000, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range stored {
			records = append(records, record{})
			if err := json.Unmarshal(one.Record, &records[len(records)-1]); err != nil {
				t.Fatal(err)
			}
		}
		found := map[string]bool{}
		for _, r := range records {
			if r.UserIdentity.ARN == caller {
				found[fmt.Sprint(r.EventName, " ", r.ErrorCode, " ", r.RequestParameters.RepositoryName)] = true
			}
		}
		return !slices.ContainsFunc(calls, func(one string) bool { return !found[one] })
	})
	var details []struct{ Repository, Result, FailureCode string }
	ask(`SELECT detail FROM event WHERE kind = 'ImageReplicated' AND account_id = '`+accountB+`'`, &details)
	found := map[string]bool{}
	for _, e := range details {
		found[strings.TrimSpace(e.Repository+" "+e.Result+" "+e.FailureCode)] = true
	}
	for _, want := range events {
		if !found[want] {
			t.Errorf("no event says %s: %v", want, found)
		}
	}
}
