package aws

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
)

func createRepository(t *testing.T, w *world) {
	ctx := t.Context()
	before := time.Now().Add(-time.Second)
	r := must(w.Client.CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: aws.String("create/plain")}))(t).Repository
	if got, want := *r.RepositoryArn, "arn:aws:ecr:us-east-1:"+w.Account+":repository/create/plain"; got != want {
		t.Errorf("repositoryArn is %s, want %s", got, want)
	}
	if *r.RegistryId != w.Account || *r.RepositoryName != "create/plain" || *r.RepositoryUri != w.Host+"/create/plain" {
		t.Errorf("the repository is %s, %s, %s", *r.RegistryId, *r.RepositoryName, *r.RepositoryUri)
	}
	if r.CreatedAt.Before(before) || r.CreatedAt.After(time.Now().Add(time.Second)) {
		t.Errorf("createdAt is %s", r.CreatedAt)
	}
	if r.ImageTagMutability != types.ImageTagMutabilityMutable || r.ImageScanningConfiguration == nil || r.ImageScanningConfiguration.ScanOnPush ||
		r.EncryptionConfiguration == nil || r.EncryptionConfiguration.EncryptionType != types.EncryptionTypeAes256 || r.EncryptionConfiguration.KmsKey != nil {
		t.Errorf("the defaults are %s, %+v, %+v", r.ImageTagMutability, r.ImageScanningConfiguration, r.EncryptionConfiguration)
	}
	_, err := w.Client.CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: aws.String("create/plain")})
	refused[*types.RepositoryAlreadyExistsException](t, err, "The repository with name 'create/plain' already exists in the registry with id '"+w.Account+"'")

	full := must(w.Client.CreateRepository(ctx, &ecr.CreateRepositoryInput{
		RepositoryName: aws.String("create/full"), RegistryId: &w.Account, ImageTagMutability: types.ImageTagMutabilityImmutableWithExclusion,
		ImageTagMutabilityExclusionFilters: []types.ImageTagMutabilityExclusionFilter{
			{FilterType: types.ImageTagMutabilityExclusionFilterTypeWildcard, Filter: aws.String("dev-*")},
		},
		ImageScanningConfiguration: &types.ImageScanningConfiguration{ScanOnPush: true},
		EncryptionConfiguration:    &types.EncryptionConfiguration{EncryptionType: types.EncryptionTypeAes256},
		Tags:                       []types.Tag{{Key: aws.String("team"), Value: aws.String("")}},
	}))(t).Repository
	if full.ImageTagMutability != types.ImageTagMutabilityImmutableWithExclusion || len(full.ImageTagMutabilityExclusionFilters) != 1 ||
		*full.ImageTagMutabilityExclusionFilters[0].Filter != "dev-*" || !full.ImageScanningConfiguration.ScanOnPush {
		t.Errorf("the settings are %+v", full)
	}
	found := must(w.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{RepositoryNames: []string{"create/full"}}))(t).Repositories
	if len(found) != 1 || !sameJSON(t, found[0], *full) {
		t.Errorf("DescribeRepositories gives %+v, CreateRepository gave %+v", found, full)
	}
	tags := must(w.ListTagsForResource(ctx, &ecr.ListTagsForResourceInput{ResourceArn: full.RepositoryArn}))(t).Tags
	if len(tags) != 1 || *tags[0].Key != "team" || *tags[0].Value != "" {
		t.Errorf("the tags are %+v", tags)
	}

	t.Log("many at once under one name: one wins")
	answers := make(chan error)
	for range 10 {
		go func() {
			_, err := w.Client.CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: aws.String("create/race")})
			answers <- err
		}()
	}
	created := 0
	for range 10 {
		if err := <-answers; err == nil {
			created++
		} else {
			refused[*types.RepositoryAlreadyExistsException](t, err, "The repository with name 'create/race' already exists in the registry with id '"+w.Account+"'")
		}
	}
	if created != 1 {
		t.Errorf("%d calls created one repository", created)
	}
}

func sameJSON(t *testing.T, a, b any) bool {
	t.Helper()
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	if errX != nil || errY != nil {
		t.Fatal(errX, errY)
	}
	return string(x) == string(y)
}

func repositoryNames(t *testing.T, w *world) {
	const pattern = `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*`
	for _, good := range []string{"ab", "0start", "a/b/c/d/e/f", "with.dot", "with__two", "with---many", strings.Repeat("n", 256)} {
		if _, err := w.Client.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: aws.String("n" + good[1:])}); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"Upper", "-start", "end-", "a//b", "/start", "end/", "with space", "a___b", "a._b", "ümlaut", "a..b"} {
		_, err := w.Client.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: &bad})
		parameter(t, err, "repositoryName", "must satisfy regular expression '"+pattern+"'")
	}
	for _, bad := range []string{"a", strings.Repeat("n", 257)} {
		_, err := w.Client.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: &bad})
		code(t, err, "InvalidParameterException", "Invalid parameter at 'repositoryName' failed to satisfy constraint: 'must have length")
	}
	_, err := w.Client.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: aws.String("names/enum"), ImageTagMutability: "SOMETIMES"})
	parameter(t, err, "imageTagMutability", "Member must satisfy enum value set: [IMMUTABLE, MUTABLE, MUTABLE_WITH_EXCLUSION, IMMUTABLE_WITH_EXCLUSION]")
}

func describeRepositories(t *testing.T, w *world) {
	ctx := t.Context()
	w.repo(t, "describe/one")
	w.repo(t, "describe/two")
	found := must(w.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{RepositoryNames: []string{"describe/two", "describe/one"}}))(t).Repositories
	if len(found) != 2 {
		t.Fatalf("%d repositories, want 2", len(found))
	}
	_, err := w.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{RepositoryNames: []string{"describe/one", "describe/none"}})
	refused[*types.RepositoryNotFoundException](t, err, w.repositoryMissing("describe/none"))
	if _, err = w.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{RepositoryNames: []string{"describe/one"}, MaxResults: aws.Int32(5)}); err == nil {
		t.Error("repositoryNames together with maxResults was accepted")
	}
	code(t, err, "InvalidParameterException", "")

	names := map[string]int{}
	pages := ecr.NewDescribeRepositoriesPaginator(w.Client, &ecr.DescribeRepositoriesInput{MaxResults: aws.Int32(3)})
	for pages.HasMorePages() {
		page := must(pages.NextPage(ctx))(t)
		if len(page.Repositories) > 3 {
			t.Fatalf("a page of %d, at most 3 were asked for", len(page.Repositories))
		}
		for _, r := range page.Repositories {
			names[*r.RepositoryName]++
		}
	}
	if names["describe/one"] != 1 || names["describe/two"] != 1 {
		t.Errorf("the pages hold the repositories %d and %d times", names["describe/one"], names["describe/two"])
	}
	_, err = w.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{MaxResults: aws.Int32(1001)})
	parameter(t, err, "maxResults", "Member must have value less than or equal to 1000")
	_, err = w.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{RegistryId: aws.String("111122223333")})
	code(t, err, "AccessDeniedException", "is not authorized to perform: ecr:DescribeRepositories on resource: arn:aws:ecr:us-east-1:111122223333:repository/*")
}

func deleteRepository(t *testing.T, w *world) {
	ctx := t.Context()
	repo := w.repo(t, "delete/app")
	w.registry.PushImage(t, *repo, "", 1, 1000) // an untagged image counts
	_, err := w.DeleteRepository(ctx, &ecr.DeleteRepositoryInput{RepositoryName: repo})
	refused[*types.RepositoryNotEmptyException](t, err, "The repository with name 'delete/app' in registry with id '"+w.Account+"' cannot be deleted because it still contains images")
	gone := must(w.DeleteRepository(ctx, &ecr.DeleteRepositoryInput{RepositoryName: repo, Force: true}))(t).Repository
	if *gone.RepositoryName != *repo || gone.CreatedAt == nil {
		t.Errorf("DeleteRepository answers %+v", gone)
	}
	_, err = w.DeleteRepository(ctx, &ecr.DeleteRepositoryInput{RepositoryName: repo})
	refused[*types.RepositoryNotFoundException](t, err, w.repositoryMissing(*repo))
	_, err = w.ListTagsForResource(ctx, &ecr.ListTagsForResourceInput{ResourceArn: gone.RepositoryArn})
	refused[*types.RepositoryNotFoundException](t, err, w.repositoryMissing(*repo))

	t.Log("a repository of the same name starts empty")
	w.CreateRepository(t, *repo)
	if ids := must(w.Client.ListImages(ctx, &ecr.ListImagesInput{RepositoryName: repo}))(t).ImageIds; len(ids) != 0 {
		t.Errorf("it lists %+v", ids)
	}
	if _, err := w.registry.Blob(ctx, *repo, "sha256:"+strings.Repeat("0", 64)); err == nil {
		t.Error("it has a blob")
	}
	w.registry.PushImage(t, *repo, "again", 1, 1000) // the same image as before
	w.registry.Verify(t, *repo, "again")
}

func repositorySettings(t *testing.T, w *world) {
	ctx := t.Context()
	repo := w.repo(t, "settings/app")
	filter := types.ImageTagMutabilityExclusionFilter{FilterType: types.ImageTagMutabilityExclusionFilterTypeWildcard, Filter: aws.String("v*")}
	set := must(w.PutImageTagMutability(ctx, &ecr.PutImageTagMutabilityInput{
		RepositoryName: repo, ImageTagMutability: types.ImageTagMutabilityMutableWithExclusion,
		ImageTagMutabilityExclusionFilters: []types.ImageTagMutabilityExclusionFilter{filter},
	}))(t)
	if set.ImageTagMutability != types.ImageTagMutabilityMutableWithExclusion || len(set.ImageTagMutabilityExclusionFilters) != 1 || *set.RegistryId != w.Account {
		t.Errorf("PutImageTagMutability answers %+v", set)
	}
	scan := must(w.PutImageScanningConfiguration(ctx, &ecr.PutImageScanningConfigurationInput{
		RepositoryName: repo, ImageScanningConfiguration: &types.ImageScanningConfiguration{ScanOnPush: true},
	}))(t)
	if !scan.ImageScanningConfiguration.ScanOnPush || *scan.RepositoryName != *repo {
		t.Errorf("PutImageScanningConfiguration answers %+v", scan)
	}
	r := must(w.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{RepositoryNames: []string{*repo}}))(t).Repositories[0]
	if !r.ImageScanningConfiguration.ScanOnPush || r.ImageTagMutability != types.ImageTagMutabilityMutableWithExclusion || len(r.ImageTagMutabilityExclusionFilters) != 1 {
		t.Errorf("the settings are %+v", r)
	}
	back := must(w.PutImageTagMutability(ctx, &ecr.PutImageTagMutabilityInput{RepositoryName: repo, ImageTagMutability: types.ImageTagMutabilityImmutable}))(t)
	if len(back.ImageTagMutabilityExclusionFilters) != 0 {
		t.Errorf("the filters stay: %+v", back)
	}
	for _, setting := range []types.ImageTagMutability{types.ImageTagMutabilityMutableWithExclusion, types.ImageTagMutabilityImmutableWithExclusion} {
		_, err := w.PutImageTagMutability(ctx, &ecr.PutImageTagMutabilityInput{RepositoryName: repo, ImageTagMutability: setting})
		parameter(t, err, "imageTagMutabilityExclusionFilters", fmt.Sprintf("ImageTagMutabilityExclusionFilters can't be null when imageTagMutability is set as %s", setting))
	}
	_, err := w.PutImageTagMutability(ctx, &ecr.PutImageTagMutabilityInput{
		RepositoryName: repo, ImageTagMutability: types.ImageTagMutabilityMutable,
		ImageTagMutabilityExclusionFilters: []types.ImageTagMutabilityExclusionFilter{filter},
	})
	code(t, err, "InvalidParameterException", "Invalid parameter at 'imageTagMutabilityExclusionFilters'")
	_, err = w.PutImageTagMutability(ctx, &ecr.PutImageTagMutabilityInput{RepositoryName: aws.String("settings/none"), ImageTagMutability: types.ImageTagMutabilityMutable})
	refused[*types.RepositoryNotFoundException](t, err, w.repositoryMissing("settings/none"))
}

func resourceTags(t *testing.T, w *world) {
	ctx := t.Context()
	repo := must(w.Client.CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: aws.String("tags/app")}))(t).Repository
	tag := func(key, value string) types.Tag { return types.Tag{Key: &key, Value: &value} }
	list := func() (out []string) {
		t.Helper()
		for _, x := range must(w.ListTagsForResource(ctx, &ecr.ListTagsForResourceInput{ResourceArn: repo.RepositoryArn}))(t).Tags {
			out = append(out, *x.Key+"="+*x.Value)
		}
		slices.Sort(out)
		return out
	}
	put := func(tags ...types.Tag) error {
		_, err := w.TagResource(ctx, &ecr.TagResourceInput{ResourceArn: repo.RepositoryArn, Tags: tags})
		return err
	}
	if err := put(tag("a", "1"), tag("b", "2")); err != nil {
		t.Fatal(err)
	}
	if err := put(tag("b", "3"), tag("c", "")); err != nil {
		t.Fatal(err)
	}
	if got := list(); !slices.Equal(got, []string{"a=1", "b=3", "c="}) {
		t.Errorf("the tags are %v", got)
	}
	must(w.UntagResource(ctx, &ecr.UntagResourceInput{ResourceArn: repo.RepositoryArn, TagKeys: []string{"a", "unknown"}}))(t)
	if got := list(); !slices.Equal(got, []string{"b=3", "c="}) {
		t.Errorf("the tags are %v", got)
	}
	var many []types.Tag
	for n := range 49 {
		many = append(many, tag(fmt.Sprintf("k%d", n), "v"))
	}
	code(t, put(many...), "TooManyTagsException", "")
	if got := list(); len(got) != 2 {
		t.Errorf("a refused call changed the tags: %v", got)
	}
	code(t, put(tag("aws:own", "x")), "InvalidTagParameterException", "")
	code(t, put(tag("d", "1"), tag("d", "2")), "InvalidTagParameterException", "")
	_, err := w.ListTagsForResource(ctx, &ecr.ListTagsForResourceInput{ResourceArn: aws.String("nonsense")})
	parameter(t, err, "resourceArn", "Invalid ARN")
	missing := "arn:aws:ecr:us-east-1:" + w.Account + ":repository/tags/none"
	_, err = w.ListTagsForResource(ctx, &ecr.ListTagsForResourceInput{ResourceArn: &missing})
	refused[*types.RepositoryNotFoundException](t, err, w.repositoryMissing("tags/none"))
}

func encryption(t *testing.T, w *world) {
	ctx := t.Context()
	with := func(name, key string) (*ecr.CreateRepositoryOutput, error) {
		return w.Client.CreateRepository(ctx, &ecr.CreateRepositoryInput{
			RepositoryName: &name, EncryptionConfiguration: &types.EncryptionConfiguration{EncryptionType: types.EncryptionTypeKms, KmsKey: &key},
		})
	}
	var refusal *types.KmsException
	_, err := with("encryption/none", "alias/nobody-made-this")
	code(t, err, "KmsException", "")
	if ok := asError(err, &refusal); !ok || aws.ToString(refusal.KmsError) == "" {
		t.Errorf("the KmsException %v has no kmsError", err)
	}
	if out, err := w.Command(ctx, "keys", "create", "--data", w.Data, "production").CombinedOutput(); err != nil {
		t.Fatalf("berth keys create: %v\n%s", err, out)
	}
	r := must(with("encryption/kms", "alias/production"))(t).Repository.EncryptionConfiguration
	if r.EncryptionType != types.EncryptionTypeKms || !strings.HasPrefix(aws.ToString(r.KmsKey), "arn:aws:kms:us-east-1:"+w.Account+":key/") {
		t.Errorf("encryptionConfiguration is %s, %s", r.EncryptionType, aws.ToString(r.KmsKey))
	}
	image := w.registry.PushImage(t, "encryption/kms", "v1", 1, 100_000)
	if out, err := w.Command(ctx, "keys", "rotate", "--data", w.Data, "alias/production").CombinedOutput(); err != nil {
		t.Fatalf("berth keys rotate: %v\n%s", err, out)
	}
	if got := w.registry.Verify(t, "encryption/kms", "v1"); got.Digest != image.Digest {
		t.Errorf("after the rotation the image is %s, want %s", got.Digest, image.Digest)
	}
	w.registry.PushImage(t, "encryption/kms", "v2", 2, 100_000)
	w.registry.Verify(t, "encryption/kms", "v2")
}

func registry(t *testing.T, w *world) {
	out := must(w.DescribeRegistry(t.Context(), &ecr.DescribeRegistryInput{}))(t)
	if *out.RegistryId != w.Account || out.ReplicationConfiguration == nil || len(out.ReplicationConfiguration.Rules) != 0 {
		t.Errorf("DescribeRegistry answers %+v", out)
	}
}
