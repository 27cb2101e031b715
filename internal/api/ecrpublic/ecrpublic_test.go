package ecrpublic_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	client "github.com/aws/aws-sdk-go-v2/service/ecrpublic"
	"github.com/aws/aws-sdk-go-v2/service/ecrpublic/types"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/ecrpublic"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
)

// TestTable: the whole service model is built, and every failure has a name.
func TestTable(t *testing.T) {
	s := ecrpublic.New(ecrpublic.Config{}).Service()
	built := map[string]bool{}
	for _, op := range s.Operations {
		built[op.Name] = true
	}
	for _, op := range s.Known {
		if !built[op] {
			t.Errorf("%s is missing", op)
		}
	}
	if page := string(aws.Compatibility([]aws.Service{s})); !strings.Contains(page, "23 of 23 operations are built") {
		t.Error(page)
	}
}

// TestHome: the API is in one region, and says which.
func TestHome(t *testing.T) {
	w := newWorld(t)
	w.region = "eu-west-1"
	_, err := w.DescribeRegistries(t.Context(), &client.DescribeRegistriesInput{})
	w.refused(err, "UnsupportedCommandException", "ECR Public is in us-east-1 only: call with --region us-east-1")
	if e, text := w.last(); e.ErrorCode != "UnsupportedCommandException" || e.Region != "eu-west-1" || e.Account != ours || e.Principal.ARN != w.caller.ARN {
		t.Errorf("the trail has %s", text)
	}
	var typed *types.UnsupportedCommandException
	if !asError(err, &typed) {
		t.Errorf("%T", err)
	}
}

// TestRegistry is how the registry of an account shows from the time before it has
// anything public.
func TestRegistry(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	arn := "arn:aws:ecr-public::111111111111:registry/111111111111"
	only := func() types.Registry {
		t.Helper()
		out, err := w.DescribeRegistries(ctx, &client.DescribeRegistriesInput{MaxResults: sdk.Int32(1)})
		w.must(err)
		if len(out.Registries) != 1 || out.NextToken != nil || *out.Registries[0].RegistryId != string(ours) || *out.Registries[0].RegistryArn != arn {
			t.Fatalf("%+v", out)
		}
		return out.Registries[0]
	}
	r := only()
	if *r.RegistryUri != "" || *r.Verified || r.Aliases == nil || len(r.Aliases) != 0 {
		t.Errorf("before anything is public: %+v", r)
	}
	none, err := w.GetRegistryCatalogData(ctx, &client.GetRegistryCatalogDataInput{})
	w.must(err)
	if none.RegistryCatalogData == nil || none.RegistryCatalogData.DisplayName != nil {
		t.Errorf("%+v", none.RegistryCatalogData)
	}
	alias := w.create("team/app")
	if r = only(); *r.RegistryUri != "public.example/"+alias || len(r.Aliases) != 1 {
		t.Fatalf("%+v", r)
	}
	if a := r.Aliases[0]; *a.Name != alias || a.Status != types.RegistryAliasStatusActive || !a.PrimaryRegistryAlias || !a.DefaultRegistryAlias {
		t.Errorf("%+v", a)
	}
	_, err = w.DescribeRegistries(ctx, &client.DescribeRegistriesInput{NextToken: sdk.String("x")})
	w.refused(err, "InvalidParameterException", "Invalid parameter at 'nextToken' failed to satisfy constraint: 'Invalid pagination token provided'")

	// A custom alias that is asked for shows, and becomes the one of all addresses.
	_, err = w.catalog.RequestAlias(ctx, ours, "harbour")
	w.must(err)
	if r = only(); len(r.Aliases) != 2 || *r.Aliases[1].Name != "harbour" || r.Aliases[1].Status != types.RegistryAliasStatusPending || r.Aliases[1].PrimaryRegistryAlias {
		t.Errorf("%+v", r.Aliases)
	}
	_, err = w.catalog.Approve(ctx, "harbour", false)
	w.must(err)
	_, err = w.catalog.SetPrimary(ctx, "harbour")
	w.must(err)
	w.must(w.catalog.SetVerified(ctx, ours, true))
	if r = only(); *r.RegistryUri != "public.example/harbour" || !*r.Verified || r.Aliases[0].PrimaryRegistryAlias || !r.Aliases[1].PrimaryRegistryAlias {
		t.Errorf("%+v", r)
	}
	found, err := w.DescribeRepositories(ctx, &client.DescribeRepositoriesInput{})
	w.must(err)
	if len(found.Repositories) != 1 || *found.Repositories[0].RepositoryUri != "public.example/harbour/team/app" {
		t.Errorf("%+v", found.Repositories)
	}
	for _, displayName := range []string{"The Harbour", ""} {
		put, err := w.PutRegistryCatalogData(ctx, &client.PutRegistryCatalogDataInput{DisplayName: &displayName})
		w.must(err)
		got, err := w.GetRegistryCatalogData(ctx, &client.GetRegistryCatalogDataInput{})
		w.must(err)
		if sdk.ToString(put.RegistryCatalogData.DisplayName) != displayName || sdk.ToString(got.RegistryCatalogData.DisplayName) != displayName {
			t.Errorf("%+v %+v", put.RegistryCatalogData, got.RegistryCatalogData)
		}
	}
	if e, text := w.last(); e.EventSource != "ecr-public.amazonaws.com" || len(e.Resources) != 1 || e.Resources[0] != arn || e.Account != ours {
		t.Errorf("the trail has %s", text)
	}
}

// TestToken: both permissions are needed, the token is of public registries only, and the
// trail has none.
func TestToken(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	out, err := w.GetAuthorizationToken(ctx, &client.GetAuthorizationTokenInput{})
	w.must(err)
	token := *out.AuthorizationData.AuthorizationToken
	plain, err := base64.StdEncoding.DecodeString(token)
	w.must(err)
	password, ok := strings.CutPrefix(string(plain), "AWS:")
	if !ok || !out.AuthorizationData.ExpiresAt.Equal(w.clk.Now().Add(12*time.Hour)) {
		t.Errorf("%q until %s", plain, out.AuthorizationData.ExpiresAt)
	}
	if e, text := w.last(); strings.Contains(text, token) || strings.Contains(text, password) || !e.ReadOnly || e.ResponseElements != nil {
		t.Errorf("the trail has %s", text)
	}
	for action, missing := range map[string]string{"ecr-public:GetAuthorizationToken": "sts:GetServiceBearerToken", "sts:GetServiceBearerToken": "ecr-public:GetAuthorizationToken"} {
		w.caller = w.user(ours, strings.Replace(action, ":", "-", 1), `{"Effect":"Allow","Action":"`+action+`","Resource":"*"}`)
		_, err = w.GetAuthorizationToken(ctx, &client.GetAuthorizationTokenInput{})
		w.refused(err, "AccessDeniedException", "User: "+w.caller.ARN+" is not authorized to perform: "+missing+" on resource: * because no identity-based policy allows the "+missing+" action")
	}
}

// TestCatalogData: what is said of a repository, and that its logo is in no answer and no
// record.
func TestCatalogData(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	var logo bytes.Buffer
	w.must(png.Encode(&logo, image.NewNRGBA(image.Rect(0, 0, 60, 60))))
	repo := sdk.String("team/app")
	out, err := w.CreateRepository(ctx, &client.CreateRepositoryInput{RepositoryName: repo, CatalogData: &types.RepositoryCatalogDataInput{
		Description: sdk.String("d"), Architectures: []string{"x86", "ARM"}, OperatingSystems: []string{"Linux"}, LogoImageBlob: logo.Bytes(),
		AboutText: sdk.String("# a"), UsageText: sdk.String("# u"),
	}})
	w.must(err)
	d := out.CatalogData
	id, ok := strings.CutPrefix(sdk.ToString(d.LogoUrl), "https://gallery.example/logo/")
	id, png := strings.CutSuffix(id, ".png")
	if !ok || !png || *d.Description != "d" || strings.Join(d.Architectures, " ") != "x86 ARM" || strings.Join(d.OperatingSystems, " ") != "Linux" || *d.AboutText != "# a" || *d.UsageText != "# u" || d.MarketplaceCertified != nil {
		t.Errorf("%+v", d)
	}
	if _, body, _, err := w.catalog.Logo(ctx, id); err != nil || len(body) == 0 {
		t.Errorf("the logo: %d bytes, %v", len(body), err)
	}
	if _, text := w.last(); strings.Contains(text, "logoImageBlob") || strings.Contains(text, base64.StdEncoding.EncodeToString(logo.Bytes())[:40]) || !strings.Contains(text, `"aboutText":"# a"`) {
		t.Errorf("the trail has %s", text)
	}
	// The largest of all inputs has room in a request; what is too large is the logo.
	wide := strings.Repeat("𝄞", 25_600)
	_, err = w.PutRepositoryCatalogData(ctx, &client.PutRepositoryCatalogDataInput{RepositoryName: repo, CatalogData: &types.RepositoryCatalogDataInput{
		AboutText: &wide, UsageText: &wide, LogoImageBlob: make([]byte, 512_001),
	}})
	w.refused(err, "InvalidParameterException", "Invalid parameter at 'catalogData.logoImageBlob' failed to satisfy constraint: 'Member must have length less than or equal to 512000'")
	put, err := w.PutRepositoryCatalogData(ctx, &client.PutRepositoryCatalogDataInput{RepositoryName: repo, CatalogData: &types.RepositoryCatalogDataInput{
		AboutText: &wide, UsageText: &wide,
	}})
	w.must(err)
	got, err := w.GetRepositoryCatalogData(ctx, &client.GetRepositoryCatalogDataInput{RepositoryName: repo})
	w.must(err)
	for _, d := range []*types.RepositoryCatalogData{put.CatalogData, got.CatalogData} {
		if *d.AboutText != wide || d.Description != nil || d.LogoUrl != nil || d.Architectures != nil || d.OperatingSystems != nil {
			t.Errorf("%+.100v", d)
		}
	}
	w.create("team/none")
	_, err = w.GetRepositoryCatalogData(ctx, &client.GetRepositoryCatalogDataInput{RepositoryName: sdk.String("team/none")})
	var none *types.RepositoryCatalogDataNotFoundException
	if !asError(err, &none) {
		t.Errorf("%v", err)
	}
}

// pusher pushes images through the API.
type pusher struct {
	*world
	registry *string // as the calls name it
	repo     string
}

func (p pusher) layer(content []byte) (digest string, err error) {
	ctx := p.t.Context()
	up, err := p.InitiateLayerUpload(ctx, &client.InitiateLayerUploadInput{RegistryId: p.registry, RepositoryName: &p.repo})
	if err != nil {
		return "", err
	}
	part, err := p.UploadLayerPart(ctx, &client.UploadLayerPartInput{
		RegistryId: p.registry, RepositoryName: &p.repo, UploadId: up.UploadId, PartFirstByte: sdk.Int64(0), PartLastByte: sdk.Int64(int64(len(content)) - 1), LayerPartBlob: content,
	})
	if err != nil || *part.LastByteReceived != int64(len(content))-1 || *part.RegistryId != string(ours) {
		return "", fmt.Errorf("%+v: %w", part, err)
	}
	digest = string(name.SHA256(content))
	done, err := p.CompleteLayerUpload(ctx, &client.CompleteLayerUploadInput{RegistryId: p.registry, RepositoryName: &p.repo, UploadId: up.UploadId, LayerDigests: []string{digest}})
	if err == nil && (*done.LayerDigest != digest || *done.RegistryId != string(ours)) {
		err = fmt.Errorf("%+v", done)
	}
	return digest, err
}

// image pushes an image of its own with a tag.
func (p pusher) image(tag string) (digest string, err error) {
	p.t.Helper()
	config := []byte(`{"architecture":"amd64","os":"linux","tag":"` + tag + `"}`)
	d, err := p.layer(config)
	if err != nil {
		return "", err
	}
	available, err := p.BatchCheckLayerAvailability(p.t.Context(), &client.BatchCheckLayerAvailabilityInput{RegistryId: p.registry, RepositoryName: &p.repo, LayerDigests: []string{d}})
	if err != nil {
		return "", err
	}
	if l := available.Layers; len(l) != 1 || l[0].LayerAvailability != types.LayerAvailabilityAvailable || *l[0].LayerSize != int64(len(config)) {
		return "", fmt.Errorf("%+v", l)
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": []string{},
		"config": map[string]any{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": d, "size": len(config)},
	})
	p.must(err)
	out, err := p.PutImage(p.t.Context(), &client.PutImageInput{RegistryId: p.registry, RepositoryName: &p.repo, ImageManifest: sdk.String(string(manifest)), ImageTag: &tag})
	if err != nil {
		return "", err
	}
	return *out.Image.ImageId.ImageDigest, nil
}

// TestAliases: the operations of a push take an alias in the place of an id.
func TestAliases(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	alias := w.create("team/app")
	for n, registry := range []*string{nil, sdk.String(string(ours)), &alias} {
		if _, err := (pusher{w, registry, "team/app"}).image(fmt.Sprint("v", n)); err != nil {
			t.Errorf("%s: %v", sdk.ToString(registry), err)
		}
	}
	deleted, err := w.BatchDeleteImage(ctx, &client.BatchDeleteImageInput{RegistryId: &alias, RepositoryName: sdk.String("team/app"), ImageIds: []types.ImageIdentifier{{ImageTag: sdk.String("v2")}, {ImageTag: sdk.String("v9")}}})
	w.must(err)
	if len(deleted.ImageIds) != 1 || len(deleted.Failures) != 1 || deleted.Failures[0].FailureCode != types.ImageFailureCodeImageNotFound {
		t.Errorf("%+v", deleted)
	}
	for registry, message := range map[string]string{
		"nobodys": "The registry with alias 'nobodys' does not exist", "No Alias": "The registry with alias 'No Alias' does not exist",
		"333333333333": "The registry with id '333333333333' does not exist", string(theirs): "The registry with id '222222222222' does not exist",
	} {
		_, err := pusher{w, &registry, "team/app"}.image("v1")
		w.refused(err, "RegistryNotFoundException", message)
		_, err = w.BatchDeleteImage(ctx, &client.BatchDeleteImageInput{RegistryId: &registry, RepositoryName: sdk.String("team/app"), ImageIds: []types.ImageIdentifier{{ImageTag: sdk.String("v1")}}})
		w.refused(err, "RepositoryNotFoundException", "The repository with name 'team/app' does not exist in the registry with id '"+registry+"'")
	}
	// The others take no alias, and one's own registry is always there.
	_, err = w.DescribeImages(ctx, &client.DescribeImagesInput{RegistryId: &alias, RepositoryName: sdk.String("team/app")})
	w.refused(err, "InvalidParameterException", "Invalid parameter at 'registryId' failed to satisfy constraint: 'must satisfy regular expression '[0-9]{12}''")
	w.caller = principal.Root(theirs)
	_, err = pusher{w, sdk.String(string(theirs)), "team/app"}.image("v1")
	w.refused(err, "RepositoryNotFoundException", "The repository with name 'team/app' does not exist in the registry with id '222222222222'")
}

// TestAnotherAccountPushes by leave of the repository's policy, under the alias, and does
// nothing else; and the policy takes what ECR Public has.
func TestAnotherAccountPushes(t *testing.T) {
	w, ctx, repo := newWorld(t), t.Context(), sdk.String("team/app")
	alias := w.create(*repo)
	push := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"222222222222"},"Action":["ecr-public:BatchCheckLayerAvailability","ecr-public:PutImage","ecr-public:InitiateLayerUpload","ecr-public:UploadLayerPart","ecr-public:CompleteLayerUpload"]}]}`
	_, err := w.SetRepositoryPolicy(ctx, &client.SetRepositoryPolicyInput{RepositoryName: repo, PolicyText: &push})
	w.must(err)
	wrong := strings.ReplaceAll(push, "ecr-public:", "ecr:")
	_, err = w.SetRepositoryPolicy(ctx, &client.SetRepositoryPolicyInput{RepositoryName: repo, PolicyText: &wrong})
	w.refused(err, "InvalidParameterException", "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Invalid repository policy provided'")
	locked := `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"ecr-public:*"}]}`
	_, err = w.SetRepositoryPolicy(ctx, &client.SetRepositoryPolicyInput{RepositoryName: repo, PolicyText: &locked})
	w.refused(err, "InvalidParameterException", "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'The policy would prevent you from setting another policy in the future. Use force to set it all the same'")

	may := w.user(theirs, "may", `{"Effect":"Allow","Action":"ecr-public:*","Resource":"*"}`)
	w.caller = may
	for _, registry := range []string{alias, string(ours)} {
		if _, err := (pusher{w, &registry, *repo}).image("by-" + registry); err != nil {
			t.Errorf("%s: %v", registry, err)
		}
	}
	e, text := w.last()
	if e.Account != ours || e.Principal.Account != theirs || len(e.Resources) != 1 || e.Resources[0] != "arn:aws:ecr-public::111111111111:repository/team/app" || e.EventName != "PutImage" || e.Region != home {
		t.Errorf("the trail has %s", text)
	}
	denied := func(action string) string {
		return "User: " + may.ARN + " is not authorized to perform: ecr-public:" + action + " on resource: arn:aws:ecr-public::111111111111:repository/team/app because no resource-based policy allows the ecr-public:" + action + " action"
	}
	_, err = w.DescribeImages(ctx, &client.DescribeImagesInput{RegistryId: sdk.String(string(ours)), RepositoryName: repo})
	w.refused(err, "AccessDeniedException", denied("DescribeImages"))
	_, err = w.BatchDeleteImage(ctx, &client.BatchDeleteImageInput{RegistryId: &alias, RepositoryName: repo, ImageIds: []types.ImageIdentifier{{ImageTag: sdk.String("v1")}}})
	w.refused(err, "AccessDeniedException", denied("BatchDeleteImage"))
	_, err = w.TagResource(ctx, &client.TagResourceInput{ResourceArn: sdk.String("arn:aws:ecr-public::111111111111:repository/team/app"), Tags: []types.Tag{}})
	w.refused(err, "AccessDeniedException", denied("TagResource"))

	// Forced, the lock holds for everybody but root's way out of it.
	w.caller = principal.Root(ours)
	_, err = w.SetRepositoryPolicy(ctx, &client.SetRepositoryPolicyInput{RepositoryName: repo, PolicyText: &locked, Force: true})
	w.must(err)
	if _, err = w.DescribeImages(ctx, &client.DescribeImagesInput{RepositoryName: repo}); err == nil {
		t.Error("a denial of everything denies nothing")
	}
	gone, err := w.DeleteRepositoryPolicy(ctx, &client.DeleteRepositoryPolicyInput{RepositoryName: repo})
	w.must(err)
	if !strings.HasPrefix(*gone.PolicyText, "{\n  \"Version\" : \"2012-10-17\",") {
		t.Errorf("%s", *gone.PolicyText)
	}
	_, err = w.GetRepositoryPolicy(ctx, &client.GetRepositoryPolicyInput{RepositoryName: repo})
	w.refused(err, "RepositoryPolicyNotFoundException", "Repository policy does not exist for the repository with name 'team/app' in the registry with id '111111111111'")
}

// TestImageTags: every tag once, when it was set, in pages.
func TestImageTags(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	w.create("team/app")
	p, began := pusher{w, nil, "team/app"}, w.clk.Now()
	digests := map[string]string{}
	for n := range 5 {
		var err error
		tag := fmt.Sprint("v", n)
		digests[tag], err = p.image(tag)
		w.must(err)
		w.clk.Advance(time.Hour)
	}
	var seen []string
	in := &client.DescribeImageTagsInput{RepositoryName: &p.repo, MaxResults: sdk.Int32(2)}
	for {
		out, err := w.DescribeImageTags(ctx, in)
		w.must(err)
		for _, d := range out.ImageTagDetails {
			at := began.Add(time.Duration(len(seen)) * time.Hour)
			if i := d.ImageDetail; *i.ImageDigest != digests[*d.ImageTag] || !d.CreatedAt.Equal(at) || !i.ImagePushedAt.Equal(at) || *i.ImageSizeInBytes == 0 ||
				*i.ImageManifestMediaType != "application/vnd.oci.image.manifest.v1+json" || *i.ArtifactMediaType != "application/vnd.oci.image.config.v1+json" {
				t.Errorf("%s %s %+v", *d.ImageTag, d.CreatedAt, i)
			}
			seen = append(seen, *d.ImageTag)
		}
		if out.NextToken == nil {
			break
		}
		in.NextToken = out.NextToken
	}
	if got := strings.Join(seen, " "); got != "v0 v1 v2 v3 v4" {
		t.Errorf("%s", got)
	}
	// The token is of this listing and repository.
	w.create("team/other")
	_, err := w.DescribeImageTags(ctx, &client.DescribeImageTagsInput{RepositoryName: sdk.String("team/other"), NextToken: in.NextToken})
	w.refused(err, "InvalidParameterException", "Invalid parameter at 'nextToken' failed to satisfy constraint: 'Invalid pagination token provided'")
	_, err = w.DescribeImages(ctx, &client.DescribeImagesInput{RepositoryName: &p.repo, NextToken: in.NextToken})
	w.refused(err, "InvalidParameterException", "Invalid parameter at 'nextToken' failed to satisfy constraint: 'Invalid pagination token provided'")
}

// TestLimits: a registry has so many repositories, and one that cannot have its tags is
// not made, nor the registry with it.
func TestLimits(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	w.quotas.PublicRepositories = 1
	_, err := w.CreateRepository(ctx, &client.CreateRepositoryInput{RepositoryName: sdk.String("team/app"), Tags: []types.Tag{{Key: sdk.String("aws:k")}}})
	w.refused(err, "InvalidTagParameterException", "Invalid tag key 'aws:k': the prefix 'aws:' is reserved")
	if r, err := w.catalog.Registry(ctx, ours); err != nil || len(r.Aliases) != 0 {
		t.Errorf("%+v %v", r, err)
	}
	_, err = w.CreateRepository(ctx, &client.CreateRepositoryInput{RepositoryName: sdk.String("team/app"), Tags: []types.Tag{{Key: sdk.String("k")}}})
	w.must(err)
	arn := sdk.String("arn:aws:ecr-public::111111111111:repository/team/app")
	tags, err := w.ListTagsForResource(ctx, &client.ListTagsForResourceInput{ResourceArn: arn})
	w.must(err)
	if len(tags.Tags) != 1 || *tags.Tags[0].Key != "k" || *tags.Tags[0].Value != "" {
		t.Errorf("%+v", tags.Tags)
	}
	_, err = w.CreateRepository(ctx, &client.CreateRepositoryInput{RepositoryName: sdk.String("team/more")})
	w.refused(err, "LimitExceededException", "The registry with id '111111111111' already has the maximum allowed number of repositories which is '1'")
	for _, bad := range []string{"arn:aws:ecr:us-east-1:111111111111:repository/team/app", "arn:aws:ecr-public:us-east-1:111111111111:repository/team/app", "arn:aws-cn:ecr-public::111111111111:repository/team/app", "arn:aws:ecr-public::111111111111:registry/111111111111", "x"} {
		_, err = w.ListTagsForResource(ctx, &client.ListTagsForResourceInput{ResourceArn: &bad})
		w.refused(err, "InvalidParameterException", "Invalid parameter at 'resourceArn' failed to satisfy constraint: 'Invalid ARN'")
	}
}

// TestRequestTags: conditions see the tags that a call sets.
func TestRequestTags(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	w.caller = w.user(ours, "dev", `{"Effect":"Allow","Action":["ecr-public:CreateRepository","ecr-public:TagResource"],"Resource":"*","Condition":{"StringEquals":{"aws:RequestTag/environment":"dev"}}},
		{"Effect":"Allow","Action":"ecr-public:UntagResource","Resource":"*","Condition":{"ForAllValues:StringEquals":{"aws:TagKeys":["owner"]},"StringEquals":{"ecr-public:ResourceTag/environment":"dev"}}}`)
	create := func(value string) error {
		_, err := w.CreateRepository(ctx, &client.CreateRepositoryInput{RepositoryName: sdk.String("app-" + value), Tags: []types.Tag{{Key: sdk.String("environment"), Value: &value}}})
		return err
	}
	w.must(create("dev"))
	denied := func(err error, action string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "is not authorized to perform: ecr-public:"+action) {
			t.Errorf("%v", err)
		}
	}
	denied(create("prod"), "CreateRepository")
	_, err := w.CreateRepository(ctx, &client.CreateRepositoryInput{RepositoryName: sdk.String("app")})
	denied(err, "CreateRepository")
	untag := func(key string) error {
		_, err := w.UntagResource(ctx, &client.UntagResourceInput{ResourceArn: sdk.String("arn:aws:ecr-public::111111111111:repository/app-dev"), TagKeys: []string{key}})
		return err
	}
	denied(untag("environment"), "UntagResource")
	w.must(untag("owner"))
}

// TestPages: a listing of repositories goes on where it ended, and names exclude pages.
func TestPages(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	for n := range 5 {
		w.create(fmt.Sprint("app-", n))
	}
	var seen []string
	pages := client.NewDescribeRepositoriesPaginator(w.Client, &client.DescribeRepositoriesInput{MaxResults: sdk.Int32(2)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		w.must(err)
		for _, r := range page.Repositories {
			seen = append(seen, *r.RepositoryName)
		}
	}
	if got := strings.Join(seen, " "); got != "app-0 app-1 app-2 app-3 app-4" {
		t.Error(got)
	}
	_, err := w.DescribeRepositories(ctx, &client.DescribeRepositoriesInput{RepositoryNames: []string{"app-1"}, MaxResults: sdk.Int32(1)})
	w.refused(err, "InvalidParameterException", "Invalid parameter at 'repositoryNames' failed to satisfy constraint: 'nextToken and maxResults cannot be used together with repositoryNames'")
	_, err = w.DescribeRepositories(ctx, &client.DescribeRepositoriesInput{RepositoryNames: []string{"app-1", "none"}})
	w.refused(err, "RepositoryNotFoundException", "The repository with name 'none' does not exist in the registry with id '111111111111'")
}

// TestDelete: images hold a repository, until it is forced.
func TestDelete(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	alias := w.create("team/app")
	_, err := pusher{w, nil, "team/app"}.image("v1")
	w.must(err)
	_, err = w.DeleteRepository(ctx, &client.DeleteRepositoryInput{RepositoryName: sdk.String("team/app")})
	w.refused(err, "RepositoryNotEmptyException", "The repository with name 'team/app' in registry with id '111111111111' cannot be deleted because it still contains images")
	out, err := w.DeleteRepository(ctx, &client.DeleteRepositoryInput{RepositoryName: sdk.String("team/app"), Force: true})
	w.must(err)
	if *out.Repository.RepositoryUri != "public.example/"+alias+"/team/app" {
		t.Errorf("%+v", out.Repository)
	}
}

// asError is errors.As.
func asError[T error](err error, target *T) bool { return errors.As(err, target) }

// TestTrail: a record is CloudTrail's of the public service.
func TestTrail(t *testing.T) {
	w := newWorld(t)
	w.create("app")
	e, _ := w.last()
	if e.EventSource != "ecr-public.amazonaws.com" || e.EventName != "CreateRepository" || e.Region != home || e.ReadOnly ||
		!strings.Contains(string(e.ResponseElements), `"createdAt":"Jan 2, 2026, 3:04:05 AM"`) || !strings.Contains(string(e.ResponseElements), `"catalogData":{}`) {
		t.Errorf("%+v\n%s", e, e.ResponseElements)
	}
}
