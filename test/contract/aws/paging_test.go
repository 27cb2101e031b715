package aws

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/berth-registry/berth/test/contract/harness"
)

// paging reads whole listings in pages of every size.
func paging(t *testing.T, w *world) {
	ctx := t.Context()
	repo := w.repo(t, "paging/app")
	want := map[string]bool{}
	images := map[string]bool{}
	for n := range 9 {
		tag := fmt.Sprintf("tag-%d", n)
		if n%3 == 2 {
			tag = ""
		}
		d := w.registry.PushImage(t, *repo, tag, uint64(n), 300).Digest
		images[d] = true
		want[d+" "+tag] = true
		if n%3 == 0 {
			second := fmt.Sprintf("second-%d", n)
			w.registry.PushManifest(t, *repo, second, harness.OCIImage, w.registry.Verify(t, *repo, tag).Raw)
			want[d+" "+second] = true
		}
	}
	for size := int32(1); size <= 13; size++ {
		listed := map[string]bool{}
		pages := ecr.NewListImagesPaginator(w.Client, &ecr.ListImagesInput{RepositoryName: repo, MaxResults: &size})
		for pages.HasMorePages() {
			page := must(pages.NextPage(ctx))(t)
			if len(page.ImageIds) > int(size) {
				t.Fatalf("a page of %d, at most %d were asked for", len(page.ImageIds), size)
			}
			for _, id := range page.ImageIds {
				key := *id.ImageDigest + " " + aws.ToString(id.ImageTag)
				if listed[key] {
					t.Errorf("pages of %d: %s comes twice", size, key)
				}
				listed[key] = true
			}
		}
		if !maps.Equal(listed, want) {
			t.Errorf("pages of %d list %d entries, want %d", size, len(listed), len(want))
		}
		described := map[string]bool{}
		details := ecr.NewDescribeImagesPaginator(w.Client, &ecr.DescribeImagesInput{RepositoryName: repo, MaxResults: &size})
		for details.HasMorePages() {
			for _, d := range must(details.NextPage(ctx))(t).ImageDetails {
				if described[*d.ImageDigest] {
					t.Errorf("pages of %d: %s comes twice", size, *d.ImageDigest)
				}
				described[*d.ImageDigest] = true
			}
		}
		if !maps.Equal(described, images) {
			t.Errorf("pages of %d describe %d images, want %d", size, len(described), len(images))
		}
	}
	for _, in := range []*ecr.ListImagesInput{{MaxResults: aws.Int32(1001)}, {MaxResults: aws.Int32(0)}} {
		in.RepositoryName = repo
		_, err := w.Client.ListImages(ctx, in)
		code(t, err, "InvalidParameterException", "Invalid parameter at 'maxResults' failed to satisfy constraint: 'Member must have value")
	}
}

// pagingUnderChange reads a listing while images come and go between the pages:
// what was there all the time is listed once, what was gone before never.
func pagingUnderChange(t *testing.T, w *world) {
	ctx := t.Context()
	repo := w.repo(t, "paging/change")
	stays := map[string]bool{}
	var goes []string
	for n := range 30 {
		d := w.registry.PushImage(t, *repo, fmt.Sprintf("t-%02d", n), uint64(100+n), 200).Digest
		if n%3 == 0 {
			goes = append(goes, d)
		} else {
			stays[d] = true
		}
	}
	listed := map[string]int{}
	gone := map[string]bool{}
	pages := ecr.NewListImagesPaginator(w.Client, &ecr.ListImagesInput{RepositoryName: repo, MaxResults: aws.Int32(4)})
	for n := uint64(0); pages.HasMorePages(); n++ {
		for _, id := range must(pages.NextPage(ctx))(t).ImageIds {
			if gone[*id.ImageDigest] {
				t.Errorf("%s is listed after it was deleted", *id.ImageDigest)
			}
			listed[*id.ImageDigest]++
		}
		if len(goes) > 0 {
			must(w.BatchDeleteImage(ctx, &ecr.BatchDeleteImageInput{RepositoryName: repo, ImageIds: []types.ImageIdentifier{digestID(goes[0])}}))(t)
			gone[goes[0]] = true
			goes = goes[1:]
		}
		w.registry.PushImage(t, *repo, fmt.Sprintf("new-%d", n), 500+n, 200)
		if n > 50 {
			t.Fatal("the pages do not end")
		}
	}
	for d := range stays {
		if listed[d] != 1 {
			t.Errorf("%s, which was there all the time, is listed %d times", d, listed[d])
		}
	}
}

// pageTokens are opaque and belong to one listing.
func pageTokens(t *testing.T, w *world) {
	ctx := t.Context()
	one, two := w.repo(t, "paging/one"), w.repo(t, "paging/two")
	for n, repo := range []*string{one, one, two, two} {
		w.registry.PushImage(t, *repo, fmt.Sprintf("t-%d", n), uint64(200+n), 200)
	}
	first := must(w.Client.ListImages(ctx, &ecr.ListImagesInput{RepositoryName: one, MaxResults: aws.Int32(1)}))(t)
	token := aws.ToString(first.NextToken)
	if token == "" {
		t.Fatal("no nextToken after one of two images")
	}
	if digest := *first.ImageIds[0].ImageDigest; strings.Contains(token, digest) {
		t.Errorf("the token %s is not opaque", token)
	}
	calls := map[string]func(token string) error{
		"another repository": func(token string) error {
			_, err := w.Client.ListImages(ctx, &ecr.ListImagesInput{RepositoryName: two, NextToken: &token})
			return err
		},
		"another operation": func(token string) error {
			_, err := w.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: one, NextToken: &token})
			return err
		},
		"the listing of repositories": func(token string) error {
			_, err := w.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{NextToken: &token})
			return err
		},
	}
	for what, call := range calls {
		if err := call(token); err == nil {
			t.Errorf("the token was accepted by %s", what)
		} else {
			code(t, err, "InvalidParameterException", "nextToken")
		}
	}
	for _, bad := range []string{"nonsense", token + "x", strings.ToUpper(token), token[:len(token)-4]} {
		_, err := w.Client.ListImages(ctx, &ecr.ListImagesInput{RepositoryName: one, NextToken: &bad})
		code(t, err, "InvalidParameterException", "nextToken")
	}
	last := must(w.Client.ListImages(ctx, &ecr.ListImagesInput{RepositoryName: one, MaxResults: aws.Int32(1), NextToken: &token}))(t)
	if last.NextToken != nil || len(last.ImageIds) != 1 {
		t.Errorf("the last page has %d entries and the token %q", len(last.ImageIds), aws.ToString(last.NextToken))
	}
}
