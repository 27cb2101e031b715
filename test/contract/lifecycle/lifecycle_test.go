package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/test/contract/harness"
)

// soon has policies run at once, for the tests' sake.
const soon = "lifecycle_delay: 100ms\n"

// pushMany pushes n images that share one layer, tagged by tag(n), "" for none.
func pushMany(t *testing.T, r *harness.Registry, repo string, n int, tag func(int) string) (digests []string) {
	t.Helper()
	config := []byte(`{"architecture":"amd64","os":"linux"}`)
	layer := harness.Random(77, 100)
	for _, b := range [][]byte{config, layer} {
		if _, err := r.PutBlob(t.Context(), repo, b); err != nil {
			t.Fatal(err)
		}
	}
	digests = make([]string, n)
	failed := make([]error, n)
	const workers = 8
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				raw := harness.Manifest{
					SchemaVersion: 2, MediaType: harness.OCIImage,
					Layers:      []harness.Descriptor{{MediaType: harness.OCILayer, Digest: harness.Digest(layer), Size: int64(len(layer))}},
					Config:      &harness.Descriptor{MediaType: harness.OCIConfig, Digest: harness.Digest(config), Size: int64(len(config))},
					Annotations: map[string]string{"n": fmt.Sprint(i, tag(i))},
				}.Bytes(t)
				digests[i] = harness.Digest(raw)
				ref := tag(i)
				if ref == "" {
					ref = digests[i]
				}
				if err := r.PutManifest(t.Context(), repo, ref, harness.OCIImage, raw); err != nil {
					failed[i] = err
					return
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(failed...); err != nil {
		t.Fatal(err)
	}
	return digests
}

func keepNewest(prefix string, n int) string {
	return fmt.Sprintf(`{
  "rules": [
    {
      "rulePriority": 1,
      "description": "keep the newest",
      "selection": {"tagStatus": "tagged", "tagPrefixList": [%q], "countType": "imageCountMoreThan", "countNumber": %d},
      "action": {"type": "expire"}
    }
  ]
}`, prefix, n)
}

// listed are the images of a repository, by the SDK's paginator in small pages.
func listed(t *testing.T, api *ecr.Client, repo string, filter *types.ListImagesFilter, page int32) (ids []types.ImageIdentifier) {
	t.Helper()
	pages := ecr.NewListImagesPaginator(api, &ecr.ListImagesInput{RepositoryName: aws.String(repo), Filter: filter, MaxResults: aws.Int32(page)})
	for pages.HasMorePages() {
		out, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, out.ImageIds...)
	}
	return ids
}

func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// TestPolicyAndPreview goes through the five operations with the SDK, its waiter
// and its paginator.
func TestPolicyAndPreview(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Shape: harness.Embedded, Config: soon})
	s.CreateRepository(t, "app")
	api, ctx := s.ECR(), t.Context()
	repo := aws.String("app")
	const n = 130
	pushMany(t, s.Registry(t), "app", n, func(i int) string {
		if i%10 == 0 {
			return ""
		}
		return fmt.Sprintf("v%03d", i)
	})
	text := keepNewest("v", 7)

	var missing *types.LifecyclePolicyNotFoundException
	if _, err := api.GetLifecyclePolicy(ctx, &ecr.GetLifecyclePolicyInput{RepositoryName: repo}); !errors.As(err, &missing) {
		t.Errorf("no policy: %v", err)
	}
	if _, err := api.StartLifecyclePolicyPreview(ctx, &ecr.StartLifecyclePolicyPreviewInput{RepositoryName: repo}); !errors.As(err, &missing) {
		t.Errorf("a preview of no policy: %v", err)
	}
	var noPreview *types.LifecyclePolicyPreviewNotFoundException
	if _, err := api.GetLifecyclePolicyPreview(ctx, &ecr.GetLifecyclePolicyPreviewInput{RepositoryName: repo}); !errors.As(err, &noPreview) {
		t.Errorf("no preview: %v", err)
	}

	start, err := api.StartLifecyclePolicyPreview(ctx, &ecr.StartLifecyclePolicyPreviewInput{RepositoryName: repo, LifecyclePolicyText: &text})
	if err != nil || start.Status != types.LifecyclePolicyPreviewStatusInProgress || aws.ToString(start.LifecyclePolicyText) != text {
		t.Fatalf("%+v %v", start, err)
	}
	waiter := ecr.NewLifecyclePolicyPreviewCompleteWaiter(api, func(o *ecr.LifecyclePolicyPreviewCompleteWaiterOptions) {
		o.MinDelay, o.MaxDelay = 50*time.Millisecond, 100*time.Millisecond
	})
	if err := waiter.Wait(ctx, &ecr.GetLifecyclePolicyPreviewInput{RepositoryName: repo}, time.Minute); err != nil {
		t.Fatal(err)
	}
	previewed := map[string]bool{}
	pages := ecr.NewGetLifecyclePolicyPreviewPaginator(api, &ecr.GetLifecyclePolicyPreviewInput{RepositoryName: repo, MaxResults: aws.Int32(25)})
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if aws.ToInt32(out.Summary.ExpiringImageTotalCount) != 110 || len(out.Summary.TransitioningImageTotalCounts) != 0 || aws.ToString(out.LifecyclePolicyText) != text {
			t.Errorf("%+v", out.Summary)
		}
		for _, r := range out.PreviewResults {
			if r.Action.Type != types.ImageActionTypeExpire || aws.ToInt32(r.AppliedRulePriority) != 1 || len(r.ImageTags) != 1 || r.StorageClass != types.LifecyclePolicyStorageClassStandard {
				t.Errorf("%+v", r)
			}
			previewed[aws.ToString(r.ImageDigest)] = true
		}
	}
	if len(previewed) != 110 {
		t.Errorf("%d images in the preview", len(previewed))
	}

	put, err := api.PutLifecyclePolicy(ctx, &ecr.PutLifecyclePolicyInput{RepositoryName: repo, LifecyclePolicyText: &text})
	if err != nil {
		t.Fatal(err)
	}
	short := `{"rules":[{"rulePriority":1,"description":"keep the newest","selection":{"tagStatus":"tagged","tagPrefixList":["v"],"countType":"imageCountMoreThan","countNumber":7},"action":{"type":"expire"}}]}`
	if aws.ToString(put.LifecyclePolicyText) != short {
		t.Errorf("stored as %s", aws.ToString(put.LifecyclePolicyText))
	}
	wait(t, "the policy to run", func() bool { return len(listed(t, api, "app", nil, 1000)) == n-110 })
	for _, id := range listed(t, api, "app", nil, 6) {
		if previewed[aws.ToString(id.ImageDigest)] {
			t.Errorf("%s was in the preview and is there", aws.ToString(id.ImageDigest))
		}
	}
	var got *ecr.GetLifecyclePolicyOutput
	wait(t, "the time of the run", func() bool {
		got, err = api.GetLifecyclePolicy(ctx, &ecr.GetLifecyclePolicyInput{RepositoryName: repo})
		return err == nil && time.Since(aws.ToTime(got.LastEvaluatedAt)) < time.Hour
	})
	gone, err := api.DeleteLifecyclePolicy(ctx, &ecr.DeleteLifecyclePolicyInput{RepositoryName: repo})
	if err != nil || aws.ToString(gone.LifecyclePolicyText) != short {
		t.Errorf("%+v %v", gone, err)
	}
	if _, err := api.DeleteLifecyclePolicy(ctx, &ecr.DeleteLifecyclePolicyInput{RepositoryName: repo}); !errors.As(err, &missing) {
		t.Errorf("deleted twice: %v", err)
	}
	if err := s.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	for event, images := range map[string]int{"DryRunEvent": 110, "PolicyExecutionEvent": 110} {
		times := count(t, s, inRecords(event))
		if len(times) != images {
			t.Errorf("the records %s name %d images, want %d", event, len(times), images)
		}
	}
}

// TestPaginators drives every paginator that the SDK has for what is built: each
// thing is in exactly one page.
func TestPaginators(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	api, ctx := s.ECR(), t.Context()
	const n = 23
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("team/app-%02d", i)
	}
	s.CreateRepository(t, names...)
	repo := names[0]
	digests := pushMany(t, s.Registry(t), repo, n, func(i int) string { return fmt.Sprintf("v%02d", i) })
	for i, prefix := range names {
		if _, err := api.CreateRepositoryCreationTemplate(ctx, &ecr.CreateRepositoryCreationTemplateInput{Prefix: &prefix, AppliedFor: []types.RCTAppliedFor{types.RCTAppliedForCreateOnPush}}); err != nil {
			t.Fatal(i, err)
		}
	}
	check := func(what string, got, want []string) {
		t.Helper()
		got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	for _, page := range []int32{1, 4, 23, 1000} {
		var got []string
		repositories := ecr.NewDescribeRepositoriesPaginator(api, &ecr.DescribeRepositoriesInput{MaxResults: aws.Int32(page)})
		for repositories.HasMorePages() {
			out, err := repositories.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range out.Repositories {
				got = append(got, aws.ToString(r.RepositoryName))
			}
		}
		check("DescribeRepositories", got, names)

		got = nil
		for _, id := range listed(t, api, repo, nil, page) {
			got = append(got, aws.ToString(id.ImageDigest))
		}
		check("ListImages", got, digests)

		got = nil
		images := ecr.NewDescribeImagesPaginator(api, &ecr.DescribeImagesInput{RepositoryName: &repo, MaxResults: aws.Int32(page)})
		for images.HasMorePages() {
			out, err := images.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range out.ImageDetails {
				got = append(got, aws.ToString(d.ImageDigest))
			}
		}
		check("DescribeImages", got, digests)

		got = nil
		templates := ecr.NewDescribeRepositoryCreationTemplatesPaginator(api, &ecr.DescribeRepositoryCreationTemplatesInput{MaxResults: aws.Int32(page)})
		for templates.HasMorePages() {
			out, err := templates.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, one := range out.RepositoryCreationTemplates {
				got = append(got, aws.ToString(one.Prefix))
			}
		}
		check("DescribeRepositoryCreationTemplates", got, names)
	}
}

// TestKilledExpiry kills the server again and again in the middle of an expiry of
// 10,000 images: in the end exactly those are gone that a run without a kill
// takes, each with one event, and each in one record.
func TestKilledExpiry(t *testing.T) {
	t.Parallel()
	const n, kills = 10_000, 3
	s := harness.Start(t, harness.Options{Shape: harness.Embedded, Config: soon})
	s.CreateRepository(t, "app")
	r := s.Registry(t)
	began := time.Now()
	doomed := pushMany(t, r, "app", n, func(i int) string { return fmt.Sprintf("old-%05d", i) })
	kept := pushMany(t, s.Registry(t), "app", 1, func(int) string { return "old-last" })
	others := []string{r.PushImage(t, "app", "keep-1", 1, 1000).Digest, r.PushImage(t, "app", "keep-2", 2, 1000).Digest}
	t.Logf("pushed %d images in %s", n, time.Since(began).Round(time.Millisecond))
	want := slices.Concat(kept, others)
	slices.Sort(want)

	text := keepNewest("old-", 1)
	if _, err := s.ECR().PutLifecyclePolicy(t.Context(), &ecr.PutLifecyclePolicyInput{RepositoryName: aws.String("app"), LifecyclePolicyText: &text}); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	left := func() int {
		time.Sleep(500 * time.Millisecond) // listing costs the server more than expiring does
		return len(listed(t, s.ECR(), "app", nil, 1000))
	}
	last := n
	for range kills {
		at := last - n/5
		wait(t, "a part of the expiry", func() bool { last = left(); return last < at })
		s.Kill()
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Logf("killed with %d images left", last)
	}
	wait(t, "the rest of the expiry", func() bool { return left() <= len(want) })
	t.Logf("expired in %s, with %d kills", time.Since(began).Round(time.Millisecond), kills)
	// A run that finds nothing to do ends it all.
	wait(t, "the last run", func() bool {
		out, err := s.Command(t.Context(), "jobs", "list", "--data", s.Data, "--kind", "lifecycle.run", "--json").Output()
		return err == nil && !strings.Contains(string(out), "lifecycle.run")
	})
	var got []string
	for _, id := range listed(t, s.ECR(), "app", nil, 1000) {
		if d := aws.ToString(id.ImageDigest); !slices.Contains(got, d) {
			got = append(got, d)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("left are %v, want %v", got, want)
	}
	s.MustFsck(t)
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	deleted, acted := written(t, s)
	for what, times := range map[string]map[string]int{"events": deleted, "records": acted} {
		if len(times) != len(doomed) {
			t.Errorf("%s of %d images, want %d", what, len(times), len(doomed))
		}
		for _, d := range doomed {
			if times[d] != 1 {
				t.Errorf("%d %s of %s", times[d], what, d)
				break
			}
		}
	}
}

// written reads what a stopped server has in its outbox and its trail: how often
// each digest was deleted, and how often a policy said that it acted on it.
func written(t *testing.T, s *harness.Server) (deleted, acted map[string]int) {
	t.Helper()
	return count(t, s, `SELECT json_extract(detail, '$.digest') FROM event WHERE kind = 'ImageDeleted'`), count(t, s, inRecords("PolicyExecutionEvent"))
}

// inRecords asks for the digests of the images in the trail's records of a policy.
func inRecords(event string) string {
	return `SELECT json_extract(a.value, '$.lifecycleEventImage.digest') FROM audit, json_each(audit.record, '$.serviceEventDetails.lifecycleEventImageActions') a WHERE audit.name = '` + event + `'`
}

// count asks the database of a stopped server for texts, and counts each.
func count(t *testing.T, s *harness.Server, query string) map[string]int {
	t.Helper()
	ctx := context.Background()
	db, err := sqldb.OpenSQLite(ctx, sqldb.SQLiteOptions{Path: filepath.Join(s.Data, "berth.db"), Durable: true, Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }() // it was only read
	times := map[string]int{}
	err = db.View(ctx, func(tx *sqldb.Tx) error {
		texts, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (text string, err error) { return text, row.Scan(&text) }, query)
		for _, text := range texts {
			times[text]++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return times
}

// files counts the regular files under a directory and their bytes.
func files(t *testing.T, dir string) (n int, size int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n++
			size += info.Size()
		}
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return n, size
}

// TestArchive archives and restores an image with docker, crane and the AWS CLI:
// pulls before, while it is away, and after; and bytes that really move.
func TestArchive(t *testing.T) {
	t.Parallel()
	slow := filepath.Join(t.TempDir(), "slow disks")
	s := harness.Start(t, harness.Options{Shape: harness.Embedded, Config: "blobs: {archive: " + slow + "}\n"})
	s.CreateRepository(t, "app")
	b := harness.NewBox(t, "docker", "dockerd", "crane", "aws").With(
		"AWS_ACCESS_KEY_ID="+s.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+s.SecretAccessKey, "AWS_ENDPOINT_URL="+s.Endpoint, "AWS_DEFAULT_REGION="+s.Region)
	harness.StartDocker(t, b)
	for _, program := range []string{"docker", "crane auth"} {
		words := strings.Fields(program)
		b.Feed(s.Password(t), words[0], append(words[1:], "login", "--username", "AWS", "--password-stdin", s.Host)...)
	}
	image := s.Host + "/app:v1"
	b.Write("ctx/Dockerfile", []byte("FROM scratch\nCOPY one /one\nCOPY two /two\n"))
	b.Write("ctx/one", harness.Random(1, 3_000_000))
	b.Write("ctx/two", harness.Random(2, 2_000_000))
	b.Run("docker", "build", "-t", image, "ctx")
	b.Run("docker", "push", image)
	b.Run("docker", "rmi", "--force", image)
	b.Run("docker", "pull", image)
	b.Run("crane", "pull", image, b.Path("before.tar"))
	whole := s.Registry(t).Verify(t, "app", "v1")
	_, before := files(t, filepath.Join(s.Data, "blobs"))

	api, ctx := s.ECR(), t.Context()
	archive := func(to types.TargetStorageClass, want types.ImageStatus) {
		t.Helper()
		out, err := api.UpdateImageStorageClass(ctx, &ecr.UpdateImageStorageClassInput{
			RepositoryName: aws.String("app"), ImageId: &types.ImageIdentifier{ImageDigest: &whole.Digest}, TargetStorageClass: to,
		})
		if err != nil || out.ImageStatus != want || aws.ToString(out.ImageId.ImageDigest) != whole.Digest {
			t.Fatalf("%+v %v", out, err)
		}
	}
	detail := func() types.ImageDetail {
		t.Helper()
		out, err := api.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: aws.String("app"), Filter: &types.DescribeImagesFilter{ImageStatus: types.ImageStatusFilterAny}})
		if err != nil || len(out.ImageDetails) != 1 {
			t.Fatalf("%+v %v", out, err)
		}
		return out.ImageDetails[0]
	}
	away := func() {
		t.Helper()
		b.Run("docker", "rmi", "--force", image)
		b.Refused("manifest unknown", "docker", "pull", image)
		b.Refused("MANIFEST_UNKNOWN", "crane", "pull", image, b.Path("during.tar"))
		if n := len(listed(t, api, "app", nil, 10)); n != 0 {
			t.Errorf("%d images are listed", n)
		}
		if n := len(listed(t, api, "app", &types.ListImagesFilter{ImageStatus: types.ImageStatusFilterArchived}, 10)); n != 1 {
			t.Errorf("%d archived images are listed", n)
		}
		d := detail()
		if d.ImageStatus != types.ImageStatusArchived || len(d.ImageTags) != 1 || time.Since(aws.ToTime(d.LastArchivedAt)) > time.Hour {
			t.Errorf("%+v", d)
		}
		wait(t, "the bytes to move", func() bool { n, _ := files(t, filepath.Join(s.Data, "blobs")); return n == 0 })
		// The configuration stands in the database.
		if n, size := files(t, slow); n != 2 || size != before {
			t.Errorf("%d files and %d bytes in the archive, want 2 and %d", n, size, before)
		}
		layers, err := api.BatchCheckLayerAvailability(ctx, &ecr.BatchCheckLayerAvailabilityInput{RepositoryName: aws.String("app"), LayerDigests: []string{whole.Manifest.Layers[0].Digest}})
		if err != nil || layers.Layers[0].LayerAvailability != types.LayerAvailabilityArchived {
			t.Errorf("%+v %v", layers, err)
		}
		var inaccessible *types.LayerInaccessibleException
		if _, err := api.GetDownloadUrlForLayer(ctx, &ecr.GetDownloadUrlForLayerInput{RepositoryName: aws.String("app"), LayerDigest: &whole.Manifest.Layers[0].Digest}); !errors.As(err, &inaccessible) {
			t.Errorf("an address of an archived layer: %v", err)
		}
		s.MustFsck(t)
	}

	archive(types.TargetStorageClassArchive, types.ImageStatusArchived)
	away()
	archive(types.TargetStorageClassStandard, types.ImageStatusActivating)
	wait(t, "the image to be back", func() bool { return detail().ImageStatus == types.ImageStatusActive })
	if d := detail(); time.Since(aws.ToTime(d.LastActivatedAt)) > time.Hour {
		t.Errorf("%+v", d)
	}
	b.Run("docker", "pull", image)
	b.Run("crane", "pull", image, b.Path("after.tar"))
	if n, _ := files(t, slow); n != 0 {
		t.Errorf("%d files are left in the archive", n)
	}
	again := s.Registry(t).Verify(t, "app", "v1")
	if again.Digest != whole.Digest {
		t.Errorf("%s came back as %s", whole.Digest, again.Digest)
	}

	t.Log("archived again, and pushed again: there at once")
	archive(types.TargetStorageClassArchive, types.ImageStatusArchived)
	away()
	b.Run("crane", "push", b.Path("after.tar"), image)
	b.Run("docker", "pull", image)
	b.Run("crane", "pull", image, b.Path("again.tar"))
	s.MustFsck(t)
	if err := s.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	back := count(t, s, `SELECT json_extract(record, '$.serviceEventDetails.imageDigest') || ' ' || json_extract(record, '$.serviceEventDetails.imageStatus') FROM audit WHERE name = 'ImageActivationEvent'`)
	if len(back) != 1 || back[whole.Digest+" ACTIVE"] != 1 {
		t.Errorf("the records of restorations: %v", back)
	}
}
