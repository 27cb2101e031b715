package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/opencontainers/go-digest"
)

// step is an operation that is measured.
type step struct {
	name string
	// pull says that it must not write a row.
	pull bool
	run  func(ctx context.Context, c *client) error
}

// group is a heading of the page with its operations.
type group struct {
	name  string
	steps []step
}

// groups are the operations that clients ask for, in the order in which a round
// runs them.
func groups() []group {
	return []group{
		{"Push", []step{
			{"start an upload", false, func(ctx context.Context, c *client) error {
				c.layer = c.content("layer")
				return c.start(ctx)
			}},
			{"send a chunk", false, func(ctx context.Context, c *client) error { return c.patch(ctx) }},
			{"finish an upload", false, func(ctx context.Context, c *client) error { return c.finish(ctx) }},
			{"ask for a layer that is there", false, func(ctx context.Context, c *client) error {
				return c.get(ctx, http.MethodHead, "blobs/"+digest.FromBytes(c.layer).String())
			}},
			{"put a new image with a tag", false, func(ctx context.Context, c *client) error {
				return c.pushManifest(ctx, "new", "tag-"+c.round, nil)
			}},
			{"mount a layer from another repository", false, func(ctx context.Context, c *client) error {
				d := digest.FromBytes(c.layer).String()
				return c.call(ctx, http.MethodPost, "/v2/"+nightly+"/blobs/uploads/?mount="+d+"&from="+big, http.StatusCreated, nil)
			}},
			{"put the same image again", false, func(ctx context.Context, c *client) error {
				return c.pushManifest(ctx, "new", "tag-"+c.round, nil)
			}},
			{"put a new image on a tag that moves", false, func(ctx context.Context, c *client) error {
				return c.pushManifest(ctx, "newer", "tag-"+c.round, nil)
			}},
			{"put an index of one image", false, func(ctx context.Context, c *client) error { return c.pushIndex(ctx) }},
			{"put an image that refers to another", false, func(ctx context.Context, c *client) error {
				return c.pushManifest(ctx, "signature", "", c.subject())
			}},
			{"PutImage (a second tag)", false, func(ctx context.Context, c *client) error {
				body, err := c.manifest("newer", nil)
				if err != nil {
					return err
				}
				_, err = c.ecr.PutImage(ctx, &ecr.PutImageInput{RepositoryName: text(big), ImageManifest: text(string(body)), ImageTag: text("second-" + c.round)})
				return err
			}},
		}},
		{"Pull", []step{
			{"GetAuthorizationToken", true, func(ctx context.Context, c *client) error { return c.authorize(ctx) }},
			{"HEAD a manifest by tag", true, func(ctx context.Context, c *client) error {
				return c.get(ctx, http.MethodHead, "manifests/tag-"+c.round)
			}},
			{"GET a manifest by tag", true, func(ctx context.Context, c *client) error {
				return c.get(ctx, http.MethodGet, "manifests/tag-"+c.round)
			}},
			{"GET a manifest by digest", true, func(ctx context.Context, c *client) error {
				return c.get(ctx, http.MethodGet, "manifests/"+c.image.String())
			}},
			{"GET a layer", true, func(ctx context.Context, c *client) error {
				return c.get(ctx, http.MethodGet, "blobs/"+digest.FromBytes(c.layer).String())
			}},
			{"GET the referrers of an image", true, func(ctx context.Context, c *client) error {
				return c.get(ctx, http.MethodGet, "referrers/"+c.image.String())
			}},
			{"BatchGetImage of three", true, func(ctx context.Context, c *client) error {
				out, err := c.ecr.BatchGetImage(ctx, &ecr.BatchGetImageInput{RepositoryName: text(big), ImageIds: []types.ImageIdentifier{
					{ImageTag: text("tag-" + c.round)}, {ImageTag: text("index-" + c.round)}, {ImageDigest: text(c.image.String())}}})
				if err == nil && len(out.Images) != 3 {
					err = fmt.Errorf("%d images: %v", len(out.Images), out.Failures)
				}
				return err
			}},
			{"GetDownloadUrlForLayer", true, func(ctx context.Context, c *client) error {
				_, err := c.ecr.GetDownloadUrlForLayer(ctx, &ecr.GetDownloadUrlForLayerInput{RepositoryName: text(big), LayerDigest: text(digest.FromBytes(c.layer).String())})
				return err
			}},
			{"BatchCheckLayerAvailability of two", true, func(ctx context.Context, c *client) error {
				_, err := c.ecr.BatchCheckLayerAvailability(ctx, &ecr.BatchCheckLayerAvailabilityInput{RepositoryName: text(big),
					LayerDigests: []string{digest.FromBytes(c.layer).String(), digest.FromString("no layer").String()}})
				return err
			}},
		}},
		{"Lists", lists()},
		{"Changes", changes()},
	}
}

func lists() []step {
	return []step{
		{"tags/list, the first 1,000", true, func(ctx context.Context, c *client) error { return c.get(ctx, http.MethodGet, "tags/list?n=1000") }},
		{"tags/list, from the middle", true, func(ctx context.Context, c *client) error {
			return c.get(ctx, http.MethodGet, "tags/list?n=1000&last=build-5")
		}},
		{"ListImages, 1,000", true, func(ctx context.Context, c *client) error { return c.listImages(ctx, "", "first") }},
		{"ListImages, 1,000 after 20,000", true, func(ctx context.Context, c *client) error {
			return c.listImages(ctx, "", "deep")
		}},
		{"ListImages of a repository of 689", true, func(ctx context.Context, c *client) error {
			_, err := c.ecr.ListImages(ctx, &ecr.ListImagesInput{RepositoryName: text("team-009/service-05009"), MaxResults: number(1000)})
			return err
		}},
		{"ListImages, tagged", true, func(ctx context.Context, c *client) error { return c.listImages(ctx, types.TagStatusTagged, "first") }},
		{"ListImages, untagged", true, func(ctx context.Context, c *client) error {
			return c.listImages(ctx, types.TagStatusUntagged, "first")
		}},
		{"DescribeImages, 1,000", true, func(ctx context.Context, c *client) error { return c.describeImages(ctx, "", "", false) }},
		{"DescribeImages, the next 1,000", true, func(ctx context.Context, c *client) error { return c.describeImages(ctx, "", "", true) }},
		{"DescribeImages, tagged", true, func(ctx context.Context, c *client) error {
			return c.describeImages(ctx, types.TagStatusTagged, "", false)
		}},
		{"DescribeImages, archived", true, func(ctx context.Context, c *client) error {
			return c.describeImages(ctx, "", types.ImageStatusFilterArchived, false)
		}},
		{"DescribeImages of one tag", true, func(ctx context.Context, c *client) error {
			_, err := c.ecr.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: text(big), ImageIds: []types.ImageIdentifier{{ImageTag: text("tag-" + c.round)}}})
			return err
		}},
		{"DescribeRepositories, 1,000", true, func(ctx context.Context, c *client) error {
			out, err := c.ecr.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{MaxResults: number(1000)})
			if err == nil {
				c.tokens["repositories"] = out.NextToken
			}
			return err
		}},
		{"DescribeRepositories, the next 1,000", true, func(ctx context.Context, c *client) error {
			_, err := c.ecr.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{MaxResults: number(1000), NextToken: c.tokens["repositories"]})
			return err
		}},
		{"DescribeRepositories of one name", true, func(ctx context.Context, c *client) error {
			_, err := c.ecr.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{RepositoryNames: []string{big}})
			return err
		}},
	}
}

func changes() []step {
	return []step{
		{"BatchDeleteImage of two", false, func(ctx context.Context, c *client) error {
			out, err := c.ecr.BatchDeleteImage(ctx, &ecr.BatchDeleteImageInput{RepositoryName: text(big), ImageIds: []types.ImageIdentifier{
				{ImageTag: text("index-" + c.round)}, {ImageDigest: text(c.signature.String())}}})
			if err == nil && len(out.Failures) > 0 {
				err = fmt.Errorf("%s", *out.Failures[0].FailureReason)
			}
			return err
		}},
		{"CreateRepository", false, func(ctx context.Context, c *client) error {
			_, err := c.ecr.CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: text("new/" + c.round)})
			return err
		}},
		{"DeleteRepository with 689 images", false, func(ctx context.Context, c *client) error {
			k := map[string]int{"0-0": 1009, "0-1": 1019, "1-0": 1029, "1-1": 1039}[c.round]
			_, err := c.ecr.DeleteRepository(ctx, &ecr.DeleteRepositoryInput{RepositoryName: text(fmt.Sprintf("team-%03d/service-%05d", k%200, k)), Force: true})
			return err
		}},
		{"PutLifecyclePolicy", false, func(ctx context.Context, c *client) error {
			keep := map[string]int{"0-0": 9_990, "0-1": 9_973, "1-0": 9_960, "1-1": 9_946}[c.round]
			_, err := c.ecr.PutLifecyclePolicy(ctx, &ecr.PutLifecyclePolicyInput{RepositoryName: text(nightly), LifecyclePolicyText: text(fmt.Sprintf(
				`{"rules":[{"rulePriority":1,"selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":%d},"action":{"type":"expire"}}]}`, keep))})
			return err
		}},
	}
}

func (c *client) listImages(ctx context.Context, tags types.TagStatus, from string) error {
	in := &ecr.ListImagesInput{RepositoryName: text(big), MaxResults: number(1000), NextToken: c.tokens[from]}
	if tags != "" {
		in.Filter = &types.ListImagesFilter{TagStatus: tags}
	}
	_, err := c.ecr.ListImages(ctx, in)
	return err
}

// goDeep fetches the token of a page far down in the list.
func (c *client) goDeep(ctx context.Context) error {
	for range 20 {
		out, err := c.ecr.ListImages(ctx, &ecr.ListImagesInput{RepositoryName: text(big), MaxResults: number(1000), NextToken: c.tokens["deep"]})
		if err != nil {
			return err
		}
		c.tokens["deep"] = out.NextToken
	}
	return nil
}

func (c *client) describeImages(ctx context.Context, tags types.TagStatus, status types.ImageStatusFilter, next bool) error {
	in := &ecr.DescribeImagesInput{RepositoryName: text(big), MaxResults: number(1000)}
	if tags != "" || status != "" {
		in.Filter = &types.DescribeImagesFilter{TagStatus: tags, ImageStatus: status}
	}
	if next {
		in.NextToken = c.tokens["images"]
	}
	out, err := c.ecr.DescribeImages(ctx, in)
	if err == nil && !next && in.Filter == nil {
		c.tokens["images"] = out.NextToken
	}
	return err
}

func text(s string) *string { return &s }
func number(n int32) *int32 { return &n }
