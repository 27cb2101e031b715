package aws

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/berth-registry/berth/test/contract/harness"
)

func putImage(t *testing.T, w *world) {
	ctx := t.Context()
	repo := w.repo(t, "put/app")
	raw := w.raw(t, *repo, 1)
	digest := harness.Digest(raw)
	image := must(w.PutImage(ctx, &ecr.PutImageInput{RepositoryName: repo, ImageManifest: new(string(raw)), ImageTag: aws.String("v1"), ImageDigest: &digest}))(t).Image
	if *image.ImageId.ImageDigest != digest || *image.ImageId.ImageTag != "v1" || *image.ImageManifest != string(raw) ||
		*image.ImageManifestMediaType != harness.OCIImage || *image.RegistryId != w.Account || *image.RepositoryName != *repo {
		t.Errorf("PutImage answers %+v", image)
	}
	exists := func(tag string) string {
		return fmt.Sprintf("Image with digest '%s' and tag '%s' already exists in the repository with name '%s' in registry with id '%s'", digest, tag, *repo, w.Account)
	}
	refused[*types.ImageAlreadyExistsException](t, w.put(t, *repo, "v1", raw), exists("v1"))
	refused[*types.ImageAlreadyExistsException](t, w.put(t, *repo, "", raw), exists("null"))
	if err := w.put(t, *repo, "v2", raw); err != nil { // a second tag
		t.Fatal(err)
	}

	t.Log("a tag moves, and the old image stays without it")
	other := w.raw(t, *repo, 2)
	if err := w.put(t, *repo, "v1", other); err != nil {
		t.Fatal(err)
	}
	if got := w.registry.Verify(t, *repo, "v1").Digest; got != harness.Digest(other) {
		t.Errorf("v1 is %s, want the new image", got)
	}
	if got := w.registry.Verify(t, *repo, "v2").Digest; got != digest {
		t.Errorf("v2 is %s, want the old image", got)
	}

	t.Log("a media type beside the manifest; without one there is nothing to go by")
	bare := bytes.Replace(w.raw(t, *repo, 3), []byte(`"mediaType":"`+harness.OCIImage+`",`), nil, 1)
	code(t, w.put(t, *repo, "bare", bare), "InvalidParameterException", "image manifest mediatype not provided in manifest or parameter")
	out := must(w.PutImage(ctx, &ecr.PutImageInput{RepositoryName: repo, ImageManifest: new(string(bare)), ImageManifestMediaType: aws.String(harness.OCIImage), ImageTag: aws.String("bare")}))(t)
	if *out.Image.ImageManifestMediaType != harness.OCIImage || *out.Image.ImageId.ImageDigest != harness.Digest(bare) {
		t.Errorf("PutImage answers %+v", out.Image)
	}
	w.registry.Verify(t, *repo, "bare")

	t.Log("odd bytes stay as they are")
	odd := append([]byte(" \n\t"), append(w.raw(t, *repo, 4), []byte("\n\n")...)...)
	if err := w.put(t, *repo, "odd", odd); err != nil {
		t.Fatal(err)
	}
	if got := w.registry.Verify(t, *repo, "odd").Raw; !bytes.Equal(got, odd) {
		t.Errorf("the manifest came back as %q", got)
	}

	t.Log("an index of images that are there")
	index := harness.Manifest{SchemaVersion: 2, MediaType: harness.OCIIndex, Manifests: []harness.Descriptor{{MediaType: harness.OCIImage, Digest: digest, Size: int64(len(raw))}}}.Bytes(t)
	if err := w.put(t, *repo, "index", index); err != nil {
		t.Fatal(err)
	}
	w.registry.Verify(t, *repo, "index")
}

func putImageRefusals(t *testing.T, w *world) {
	repo := w.repo(t, "put/refusals")
	raw := w.raw(t, *repo, 10)
	_, err := w.PutImage(t.Context(), &ecr.PutImageInput{RepositoryName: aws.String("put/none"), ImageManifest: new(string(raw))})
	refused[*types.RepositoryNotFoundException](t, err, w.repositoryMissing("put/none"))
	for _, bad := range []string{"{", "no json", "[]", `"text"`, string(raw) + "{}"} {
		parameter(t, w.put(t, *repo, "bad", []byte(bad)), "ImageManifest", "Invalid JSON syntax")
	}
	for _, tag := range []string{"with space", "with/slash", "ümlaut", "with:colon"} {
		parameter(t, w.put(t, *repo, tag, raw), "imageTag", "must satisfy regular expression '[a-zA-Z0-9-_.]+'")
	}
	code(t, w.put(t, *repo, strings.Repeat("t", 301), raw), "InvalidParameterException", "Invalid parameter at 'imageTag' failed to satisfy constraint: 'Member must have length less than or equal to 300'")

	wrong := "sha256:" + strings.Repeat("1", 64)
	_, err = w.PutImage(t.Context(), &ecr.PutImageInput{RepositoryName: repo, ImageManifest: new(string(raw)), ImageDigest: &wrong})
	code(t, err, "ImageDigestDoesNotMatchException", wrong)

	missing := "sha256:" + strings.Repeat("2", 64)
	lacking := bytes.Replace(raw, []byte(harness.Digest(harness.Random(10, 1000))), []byte(missing), 1)
	refused[*types.LayersNotFoundException](t, w.put(t, *repo, "lacking", lacking),
		fmt.Sprintf("Layers with digests '[%s]' required for pushing image into repository with name '%s' in the registry with id '%s' do not exist", missing, *repo, w.Account))
	index := harness.Manifest{SchemaVersion: 2, MediaType: harness.OCIIndex, Manifests: []harness.Descriptor{{MediaType: harness.OCIImage, Digest: missing, Size: 100}}}.Bytes(t)
	refused[*types.ReferencedImagesNotFoundException](t, w.put(t, *repo, "childless", index),
		fmt.Sprintf("Images with digests '[%s]' required for pushing image into repository with name '%s' in the registry with id '%s' do not exist", missing, *repo, w.Account))
	if ids := must(w.Client.ListImages(t.Context(), &ecr.ListImagesInput{RepositoryName: repo}))(t).ImageIds; len(ids) != 0 {
		t.Errorf("refused images are listed: %+v", ids)
	}

	t.Log("the largest manifest, and one that is larger")
	pad := func(n int) []byte {
		m := append(bytes.TrimSuffix(w.raw(t, *repo, 11), []byte("}")), []byte(`,"annotations":{"pad":"`)...)
		return append(append(m, bytes.Repeat([]byte("x"), n-len(m)-3)...), []byte(`"}}`)...)
	}
	if err := w.put(t, *repo, "large", pad(4194304)); err != nil {
		t.Errorf("a manifest of 4 MiB: %v", err)
	}
	code(t, w.put(t, *repo, "larger", pad(4194305)), "InvalidParameterException", "Invalid parameter at 'imageManifest' failed to satisfy constraint: 'Member must have length less than or equal to 4194304'")
}

// tagMutability walks the table of section 17, through the API and by docker's
// way alike.
func tagMutability(t *testing.T, w *world) {
	ctx := t.Context()
	for i, c := range []struct {
		setting types.ImageTagMutability
		filters []string
		fixed   []string
		free    []string
	}{
		{types.ImageTagMutabilityMutable, nil, nil, []string{"v1", "latest"}},
		{types.ImageTagMutabilityImmutable, nil, []string{"v1", "latest"}, nil},
		{types.ImageTagMutabilityImmutableWithExclusion, []string{"dev-*", "latest"}, []string{"v1", "dev", "latest2", "xdev-1"}, []string{"dev-", "dev-1", "latest"}},
		{types.ImageTagMutabilityMutableWithExclusion, []string{"v*.*", "release"}, []string{"v1.2", "v.", "release"}, []string{"v1", "release2", "latest"}},
	} {
		repo := fmt.Sprintf("mutability/%d", i)
		in := &ecr.CreateRepositoryInput{RepositoryName: &repo, ImageTagMutability: c.setting}
		for _, f := range c.filters {
			in.ImageTagMutabilityExclusionFilters = append(in.ImageTagMutabilityExclusionFilters,
				types.ImageTagMutabilityExclusionFilter{FilterType: types.ImageTagMutabilityExclusionFilterTypeWildcard, Filter: &f})
		}
		must(w.Client.CreateRepository(ctx, in))(t)
		one, two := w.raw(t, repo, uint64(20+2*i)), w.raw(t, repo, uint64(21+2*i))
		for _, tag := range c.free {
			for _, raw := range [][]byte{one, two} {
				if err := w.put(t, repo, tag, raw); err != nil {
					t.Errorf("%s %v: %s: %v", c.setting, c.filters, tag, err)
				}
			}
		}
		for _, tag := range c.fixed {
			text := fmt.Sprintf("The image tag '%s' already exists in the '%s' repository and cannot be overwritten because the tag is immutable.", tag, repo)
			if err := w.put(t, repo, tag, one); err != nil {
				t.Fatal(err)
			}
			refused[*types.ImageTagAlreadyExistsException](t, w.put(t, repo, tag, two), text)
			a := must(w.registry.Do(ctx, harness.Request{
				Method: http.MethodPut, Path: "/v2/" + repo + "/manifests/" + tag, Body: bytes.NewReader(two), Header: map[string]string{"Content-Type": harness.OCIImage},
			}))(t)
			if a.Status != http.StatusBadRequest || !bytes.Contains(a.Body, []byte("TAG_INVALID")) || !bytes.Contains(a.Body, []byte(text)) {
				t.Errorf("%s: by docker's way %s answers %d %s", c.setting, tag, a.Status, a.Body)
			}
			if got := w.registry.Verify(t, repo, tag).Digest; got != harness.Digest(one) {
				t.Errorf("%s: %s moved to %s", c.setting, tag, got)
			}
			out := must(w.BatchDeleteImage(ctx, &ecr.BatchDeleteImageInput{RepositoryName: &repo, ImageIds: []types.ImageIdentifier{tagID(tag)}}))(t)
			if len(out.Failures) != 0 {
				t.Errorf("%s: %s cannot be deleted: %+v", c.setting, tag, out.Failures)
			}
			if err := w.put(t, repo, tag, two); err != nil { // the tag is free again
				t.Errorf("%s: a deleted tag: %v", c.setting, err)
			}
		}
	}
}

func batchGetImage(t *testing.T, w *world) {
	ctx := t.Context()
	repo := w.repo(t, "get/app")
	raw, other := w.raw(t, *repo, 40), w.raw(t, *repo, 41)
	digest, otherDigest := harness.Digest(raw), harness.Digest(other)
	for tag, m := range map[string][]byte{"v1": raw, "v2": other} {
		if err := w.put(t, *repo, tag, m); err != nil {
			t.Fatal(err)
		}
	}
	missing := "sha256:" + strings.Repeat("3", 64)
	out := must(w.BatchGetImage(ctx, &ecr.BatchGetImageInput{RepositoryName: repo, ImageIds: []types.ImageIdentifier{
		tagID("v1"), digestID(otherDigest), {ImageTag: aws.String("v1"), ImageDigest: &digest},
		tagID("none"), digestID(missing), {ImageTag: aws.String("v1"), ImageDigest: &otherDigest}, {}, digestID("nonsense"),
	}}))(t)
	if len(out.Images) != 3 || len(out.Failures) != 5 {
		t.Fatalf("%d images and %d failures, want 3 and 5: %+v", len(out.Images), len(out.Failures), out.Failures)
	}
	for i, want := range []struct{ digest, tag, manifest string }{{digest, "v1", string(raw)}, {otherDigest, "", string(other)}, {digest, "v1", string(raw)}} {
		got := out.Images[i]
		if aws.ToString(got.ImageId.ImageDigest) != want.digest || want.tag != "" && aws.ToString(got.ImageId.ImageTag) != want.tag ||
			*got.ImageManifest != want.manifest || *got.ImageManifestMediaType != harness.OCIImage || *got.RegistryId != w.Account {
			t.Errorf("image %d is %+v", i, got)
		}
	}
	for i, want := range []struct {
		code   types.ImageFailureCode
		reason string
	}{
		{types.ImageFailureCodeImageNotFound, "Requested image not found"},
		{types.ImageFailureCodeImageNotFound, "Requested image not found"},
		{types.ImageFailureCodeImageTagDoesNotMatchDigest, ""},
		{types.ImageFailureCodeMissingDigestAndTag, "Invalid request parameters: both tag and digest cannot be null"},
		{types.ImageFailureCodeInvalidImageDigest, "Invalid request parameters: image digest should satisfy the regex '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'"},
	} {
		got := out.Failures[i]
		if got.FailureCode != want.code || want.reason != "" && *got.FailureReason != want.reason || aws.ToString(got.FailureReason) == "" {
			t.Errorf("failure %d is %s %q, want %s %q", i, got.FailureCode, aws.ToString(got.FailureReason), want.code, want.reason)
		}
	}
	if f := out.Failures[0]; aws.ToString(f.ImageId.ImageTag) != "none" || f.ImageId.ImageDigest != nil {
		t.Errorf("the failure names %+v", f.ImageId)
	}

	t.Log("translation by tag, never by digest")
	types2 := func(id types.ImageIdentifier, accept ...string) types.Image {
		t.Helper()
		out := must(w.BatchGetImage(ctx, &ecr.BatchGetImageInput{RepositoryName: repo, ImageIds: []types.ImageIdentifier{id}, AcceptedMediaTypes: accept}))(t)
		if len(out.Images) != 1 {
			t.Fatalf("%v: %+v", accept, out.Failures)
		}
		return out.Images[0]
	}
	if got := types2(digestID(digest), harness.DockerImage); *got.ImageManifest != string(raw) {
		t.Errorf("by digest the manifest is %s", *got.ImageManifest)
	}
	if got := types2(tagID("v1"), harness.OCIImage, harness.DockerImage); *got.ImageManifest != string(raw) {
		t.Errorf("the stored form is accepted, and the manifest is %s", *got.ImageManifest)
	}
	// What w.raw makes has no root file system in its configuration, so only the
	// manifest can be translated.
	got := types2(tagID("v1"), harness.DockerImage)
	if *got.ImageManifestMediaType != harness.DockerImage || *got.ImageId.ImageDigest != harness.Digest([]byte(*got.ImageManifest)) {
		t.Errorf("translated it is %s, %s", *got.ImageManifestMediaType, *got.ImageManifest)
	}
	if again := types2(digestID(*got.ImageId.ImageDigest)); *again.ImageManifest != *got.ImageManifest {
		t.Errorf("by its own digest the translation is %s", *again.ImageManifest)
	}
	many := make([]types.ImageIdentifier, 101)
	for i := range many {
		many[i] = tagID("v1")
	}
	_, err := w.BatchGetImage(ctx, &ecr.BatchGetImageInput{RepositoryName: repo, ImageIds: many})
	code(t, err, "InvalidParameterException", "Invalid parameter at 'imageIds' failed to satisfy constraint: 'Member must have length less than or equal to 100'")
}

func batchDeleteImage(t *testing.T, w *world) {
	ctx := t.Context()
	repo := w.repo(t, "remove/app")
	remove := func(ids ...types.ImageIdentifier) (removed []string, failures []types.ImageFailure) {
		t.Helper()
		out := must(w.BatchDeleteImage(ctx, &ecr.BatchDeleteImageInput{RepositoryName: repo, ImageIds: ids}))(t)
		for _, id := range out.ImageIds {
			removed = append(removed, aws.ToString(id.ImageTag)+" "+aws.ToString(id.ImageDigest))
		}
		slices.Sort(removed)
		return removed, out.Failures
	}
	raw := w.raw(t, *repo, 50)
	digest := harness.Digest(raw)
	for _, tag := range []string{"a", "b", "c"} {
		if err := w.put(t, *repo, tag, raw); err != nil {
			t.Fatal(err)
		}
	}
	t.Log("one tag of three; then the image with the two others")
	if removed, failures := remove(tagID("a")); !slices.Equal(removed, []string{"a " + digest}) || len(failures) != 0 {
		t.Errorf("removed %v, failures %+v", removed, failures)
	}
	w.registry.Verify(t, *repo, "b")
	if removed, failures := remove(digestID(digest)); !slices.Equal(removed, []string{"b " + digest, "c " + digest}) || len(failures) != 0 {
		t.Errorf("removed %v, failures %+v", removed, failures)
	}
	_, failures := remove(digestID(digest), tagID("b"))
	if len(failures) != 2 || failures[0].FailureCode != types.ImageFailureCodeImageNotFound || *failures[1].FailureReason != "Requested image not found" {
		t.Errorf("the second time: %+v", failures)
	}

	t.Log("the last tag takes the image with it")
	if err := w.put(t, *repo, "last", raw); err != nil {
		t.Fatal(err)
	}
	if removed, _ := remove(tagID("last")); !slices.Equal(removed, []string{"last " + digest}) {
		t.Errorf("removed %v", removed)
	}
	_, failures = remove(digestID(digest))
	if len(failures) != 1 || failures[0].FailureCode != types.ImageFailureCodeImageNotFound {
		t.Errorf("after its last tag the image is there: %+v", failures)
	}

	t.Log("an untagged image, and a tag with a digest that is not its")
	if err := w.put(t, *repo, "", raw); err != nil {
		t.Fatal(err)
	}
	other := w.raw(t, *repo, 51)
	if err := w.put(t, *repo, "other", other); err != nil {
		t.Fatal(err)
	}
	removed, failures := remove(types.ImageIdentifier{ImageTag: aws.String("other"), ImageDigest: &digest}, digestID(digest), types.ImageIdentifier{})
	if !slices.Equal(removed, []string{" " + digest}) || len(failures) != 2 {
		t.Errorf("removed %v, failures %+v", removed, failures)
	}
	w.registry.Verify(t, *repo, "other")

	t.Log("what an index refers to stays until the index goes")
	child := harness.Digest(other)
	index := harness.Manifest{SchemaVersion: 2, MediaType: harness.OCIIndex, Manifests: []harness.Descriptor{{MediaType: harness.OCIImage, Digest: child, Size: int64(len(other))}}}.Bytes(t)
	if err := w.put(t, *repo, "index", index); err != nil {
		t.Fatal(err)
	}
	_, failures = remove(digestID(child))
	if len(failures) != 1 || failures[0].FailureCode != types.ImageFailureCodeImageReferencedByManifestList ||
		*failures[0].FailureReason != "Requested image referenced by manifest list: ["+harness.Digest(index)+"]" {
		t.Errorf("a child of an index: %+v", failures)
	}
	w.registry.Verify(t, *repo, "index")
	if removed, failures := remove(tagID("index")); len(removed) != 1 || len(failures) != 0 {
		t.Errorf("the index: removed %v, failures %+v", removed, failures)
	}
	if removed, failures := remove(digestID(child)); len(removed) != 1 || len(failures) != 0 {
		t.Errorf("its former child: removed %v, failures %+v", removed, failures)
	}
	if ids := must(w.Client.ListImages(ctx, &ecr.ListImagesInput{RepositoryName: repo}))(t).ImageIds; len(ids) != 0 {
		t.Errorf("still listed: %+v", ids)
	}
}

func listImages(t *testing.T, w *world) {
	ctx := t.Context()
	repo := w.repo(t, "list/app")
	tagged := w.registry.PushImage(t, *repo, "a", 60, 500).Digest
	if err := w.registry.PutManifest(ctx, *repo, "b", harness.OCIImage, w.registry.Verify(t, *repo, "a").Raw); err != nil {
		t.Fatal(err)
	}
	loose := w.registry.PushImage(t, *repo, "", 61, 500).Digest
	list := func(status types.TagStatus) (out []string) {
		t.Helper()
		in := &ecr.ListImagesInput{RepositoryName: repo}
		if status != "" {
			in.Filter = &types.ListImagesFilter{TagStatus: status}
		}
		for _, id := range must(w.Client.ListImages(ctx, in))(t).ImageIds {
			out = append(out, aws.ToString(id.ImageTag)+" "+*id.ImageDigest)
		}
		slices.Sort(out)
		return out
	}
	all := []string{" " + loose, "a " + tagged, "b " + tagged}
	for status, want := range map[types.TagStatus][]string{"": all, types.TagStatusAny: all, types.TagStatusTagged: all[1:], types.TagStatusUntagged: all[:1]} {
		if got := list(status); !slices.Equal(got, want) {
			t.Errorf("with tagStatus %q: %v, want %v", status, got, want)
		}
	}
	_, err := w.Client.ListImages(ctx, &ecr.ListImagesInput{RepositoryName: aws.String("list/none")})
	refused[*types.RepositoryNotFoundException](t, err, w.repositoryMissing("list/none"))
}

func describeImages(t *testing.T, w *world) {
	ctx := t.Context()
	repo := w.repo(t, "images/app")
	before := time.Now().Add(-time.Second)
	raw := w.raw(t, *repo, 70)
	digest := harness.Digest(raw)
	for _, tag := range []string{"v2", "v1"} {
		if err := w.put(t, *repo, tag, raw); err != nil {
			t.Fatal(err)
		}
	}
	config := fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","n":%d}`, 70)
	one := must(w.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: repo, ImageIds: []types.ImageIdentifier{tagID("v1")}}))(t).ImageDetails
	if len(one) != 1 {
		t.Fatalf("%d images, want 1", len(one))
	}
	d := one[0]
	if *d.ImageDigest != digest || !slices.Equal(d.ImageTags, []string{"v1", "v2"}) || *d.RegistryId != w.Account || *d.RepositoryName != *repo ||
		*d.ImageManifestMediaType != harness.OCIImage || *d.ArtifactMediaType != harness.OCIConfig || d.ImagePushedAt.Before(before) ||
		d.SubjectManifestDigest != nil || d.ImageStatus != types.ImageStatusActive {
		t.Errorf("the image is %+v", d)
	}
	if size := *d.ImageSizeInBytes; size != 1000 && size != int64(1000+len(config)) {
		t.Errorf("imageSizeInBytes is %d, the layer has 1000", size)
	}
	if d.LastRecordedPullTime != nil {
		t.Errorf("never pulled, and lastRecordedPullTime is %s", d.LastRecordedPullTime)
	}

	t.Log("an artifact, an index, an image without a tag")
	empty := []byte("{}")
	must(w.registry.PutBlob(ctx, *repo, empty))(t)
	artifact := harness.Manifest{
		SchemaVersion: 2, MediaType: harness.OCIImage, ArtifactType: "application/vnd.example.sbom",
		Config:  &harness.Descriptor{MediaType: harness.OCIEmpty, Digest: harness.Digest(empty), Size: 2},
		Layers:  []harness.Descriptor{{MediaType: harness.OCIEmpty, Digest: harness.Digest(empty), Size: 2}},
		Subject: &harness.Descriptor{MediaType: harness.OCIImage, Digest: digest, Size: int64(len(raw))},
	}.Bytes(t)
	index := harness.Manifest{SchemaVersion: 2, MediaType: harness.OCIIndex, Manifests: []harness.Descriptor{{MediaType: harness.OCIImage, Digest: digest, Size: int64(len(raw))}}}.Bytes(t)
	for tag, m := range map[string][]byte{"": artifact, "index": index} {
		if err := w.put(t, *repo, tag, m); err != nil {
			t.Fatal(err)
		}
	}
	found := map[string]types.ImageDetail{}
	for _, d := range must(w.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: repo}))(t).ImageDetails {
		found[*d.ImageDigest] = d
	}
	if len(found) != 3 {
		t.Fatalf("%d images, want 3", len(found))
	}
	if a := found[harness.Digest(artifact)]; len(a.ImageTags) != 0 || aws.ToString(a.SubjectManifestDigest) != digest || aws.ToString(a.ArtifactMediaType) != "application/vnd.example.sbom" {
		t.Errorf("the artifact is %+v", a)
	}
	if x := found[harness.Digest(index)]; aws.ToString(x.ImageManifestMediaType) != harness.OCIIndex || *x.ImageSizeInBytes != *d.ImageSizeInBytes {
		t.Errorf("the index is %+v, its size has to be that of its largest image", x)
	}
	for status, want := range map[types.TagStatus]int{types.TagStatusTagged: 2, types.TagStatusUntagged: 1, types.TagStatusAny: 3} {
		got := must(w.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: repo, Filter: &types.DescribeImagesFilter{TagStatus: status}}))(t).ImageDetails
		if len(got) != want {
			t.Errorf("with tagStatus %s: %d images, want %d", status, len(got), want)
		}
	}

	t.Log("one missing image fails the call")
	_, err := w.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: repo, ImageIds: []types.ImageIdentifier{tagID("v1"), tagID("none")}})
	refused[*types.ImageNotFoundException](t, err, fmt.Sprintf("The image with imageId {imageDigest:'null', imageTag:'none'} does not exist within the repository with name '%s' in the registry with id '%s'", *repo, w.Account))
	_, err = w.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: repo, ImageIds: []types.ImageIdentifier{tagID("v1")}, MaxResults: aws.Int32(1)})
	code(t, err, "InvalidParameterException", "")

	t.Log("a pull is recorded, without a write of its own")
	w.registry.Verify(t, *repo, "v1")
	deadline := time.Now().Add(90 * time.Second)
	for {
		d := must(w.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: repo, ImageIds: []types.ImageIdentifier{tagID("v1")}}))(t).ImageDetails[0]
		if d.LastRecordedPullTime != nil {
			if d.LastRecordedPullTime.Before(before) || d.LastRecordedPullTime.After(time.Now().Add(time.Second)) {
				t.Errorf("lastRecordedPullTime is %s", d.LastRecordedPullTime)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a minute and a half after a pull there is no lastRecordedPullTime")
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func listImageReferrers(t *testing.T, w *world) {
	ctx := t.Context()
	repo := w.repo(t, "referrers/app")
	subject := w.registry.PushImage(t, *repo, "v1", 80, 500)
	list := func(digest string, artifactTypes ...string) (out []string) {
		t.Helper()
		in := &ecr.ListImageReferrersInput{RepositoryName: repo, SubjectId: &types.SubjectIdentifier{ImageDigest: &digest}, MaxResults: aws.Int32(2)}
		if len(artifactTypes) > 0 {
			in.Filter = &types.ListImageReferrersFilter{ArtifactTypes: artifactTypes}
		}
		for {
			page := must(w.Client.ListImageReferrers(ctx, in))(t)
			if len(page.Referrers) > 2 {
				t.Fatalf("a page of %d, at most 2 were asked for", len(page.Referrers))
			}
			for _, r := range page.Referrers {
				if *r.MediaType != harness.OCIImage || *r.Size == 0 || r.Annotations["n"] == "" {
					t.Errorf("a referrer is %+v", r)
				}
				out = append(out, *r.ArtifactType+" "+*r.Digest)
			}
			if in.NextToken = page.NextToken; in.NextToken == nil {
				break
			}
		}
		slices.Sort(out)
		return out
	}
	if got := list(subject.Digest); len(got) != 0 {
		t.Errorf("before any referrer: %v", got)
	}
	if got := list("sha256:" + strings.Repeat("5", 64)); len(got) != 0 {
		t.Errorf("of a subject that is not there: %v", got)
	}
	empty := []byte("{}")
	must(w.registry.PutBlob(ctx, *repo, empty))(t)
	var want, sboms []string
	for n, kind := range []string{"example/sbom", "example/signature", "example/sbom", "example/signature", "example/other"} {
		raw := harness.Manifest{
			SchemaVersion: 2, MediaType: harness.OCIImage, ArtifactType: kind,
			Config:      &harness.Descriptor{MediaType: harness.OCIEmpty, Digest: harness.Digest(empty), Size: 2},
			Layers:      []harness.Descriptor{{MediaType: harness.OCIEmpty, Digest: harness.Digest(empty), Size: 2}},
			Subject:     &harness.Descriptor{MediaType: harness.OCIImage, Digest: subject.Digest, Size: subject.Size},
			Annotations: map[string]string{"n": fmt.Sprint(n)},
		}.Bytes(t)
		if err := w.put(t, *repo, "", raw); err != nil {
			t.Fatal(err)
		}
		want = append(want, kind+" "+harness.Digest(raw))
		if kind == "example/sbom" {
			sboms = append(sboms, kind+" "+harness.Digest(raw))
		}
	}
	slices.Sort(want)
	slices.Sort(sboms)
	if got := list(subject.Digest); !slices.Equal(got, want) {
		t.Errorf("the referrers are %v, want %v", got, want)
	}
	if got := list(subject.Digest, "example/sbom", "example/unknown"); !slices.Equal(got, sboms) {
		t.Errorf("of one type: %v, want %v", got, sboms)
	}
}
