package clients

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/berth-registry/berth/test/contract/harness"
)

// awsBox runs the AWS CLI after eval "$(berth env)", as the README says.
// refused runs a command that has to fail.
func awsBox(t *testing.T, f *fixture) (b *harness.Box, cli, refused func(script string) string) {
	t.Helper()
	b = harness.NewBox(t, "bash", "aws")
	env := b.Run(f.Binary(), "env", "--data", f.Data) + "\n"
	cli = func(script string) string {
		t.Helper()
		return b.Script(env + script)
	}
	refused = func(script string) string {
		t.Helper()
		out, stderr, err := b.Try("", "bash", "-c", env+script)
		if err == nil {
			t.Fatalf("this succeeded: %s\n%s", script, out)
		}
		return stderr
	}
	return b, cli, refused
}

type imageDetails struct {
	ImageDetails []struct {
		RegistryID       string `json:"registryId"`
		RepositoryName   string
		ImageDigest      string
		ImageTags        []string
		ImageSizeInBytes int64
		ImagePushedAt    string
	}
}

func awscli(t *testing.T, f *fixture) {
	b, cli, refused := awsBox(t, f)
	if v := b.Run("aws", "--version"); !strings.HasPrefix(v, "aws-cli/2.9.") {
		t.Logf("this is no longer Debian 12's AWS CLI but %s; berth env's shell function may go untested", v)
	}

	t.Log("who and where")
	caller := decode[map[string]string](t, cli(`aws sts get-caller-identity --output json`))
	if caller["Account"] != f.Account || caller["Arn"] != "arn:aws:iam::"+f.Account+":root" {
		t.Fatalf("aws sts get-caller-identity says %v", caller)
	}
	registry := cli(`aws ecr describe-registry --query registryId --output text`)
	same(t, "the registry", registry, f.Account)

	t.Log("repositories")
	created := decode[struct{ Repository map[string]any }](t, cli(`aws ecr create-repository --repository-name cli/app --tags Key=team,Value=one --output json`)).Repository
	if created["repositoryUri"] != f.ref("cli/app", "") || created["repositoryArn"] != "arn:aws:ecr:us-east-1:"+f.Account+":repository/cli/app" ||
		created["imageTagMutability"] != "MUTABLE" {
		t.Fatalf("aws ecr create-repository printed %v", created)
	}
	text := "An error occurred (RepositoryAlreadyExistsException) when calling the CreateRepository operation: The repository with name 'cli/app' already exists in the registry with id '" + f.Account + "'"
	if stderr := refused(`aws ecr create-repository --repository-name cli/app`); !strings.Contains(stderr, text) {
		t.Fatalf("a second create-repository says %s", stderr)
	}
	cli(`aws ecr create-repository --repository-name cli/second >/dev/null`)
	names := strings.Fields(cli(`aws ecr describe-repositories --page-size 1 --query 'repositories[].repositoryName' --output text`))
	if !slices.Contains(names, "cli/app") || !slices.Contains(names, "cli/second") {
		t.Fatalf("aws ecr describe-repositories lists %v", names)
	}
	arn := created["repositoryArn"].(string)
	cli(`aws ecr tag-resource --resource-arn ` + arn + ` --tags Key=stage,Value=test`)
	cli(`aws ecr untag-resource --resource-arn ` + arn + ` --tag-keys team`)
	tags := cli(`aws ecr list-tags-for-resource --resource-arn ` + arn + ` --query 'tags[].[Key,Value]' --output text`)
	same(t, "the tags", tags, "stage\ttest")
	cli(`aws ecr put-image-scanning-configuration --repository-name cli/app --image-scanning-configuration scanOnPush=true`)
	cli(`aws ecr put-image-tag-mutability --repository-name cli/second --image-tag-mutability IMMUTABLE`)
	setting := cli(`aws ecr describe-repositories --repository-names cli/app cli/second --query 'repositories[].[imageTagMutability,imageScanningConfiguration.scanOnPush]' --output text`)
	same(t, "the settings", setting, "MUTABLE\tTrue\nIMMUTABLE\tFalse")

	t.Log("a layer in parts, checked, put into an image, downloaded")
	layer := harness.Random(90, 6_000_000)
	b.Write("part1", layer[:5<<20])
	b.Write("part2", layer[5<<20:])
	digest := harness.Digest(layer)
	got := cli(fmt.Sprintf(`
		id=$(aws ecr initiate-layer-upload --repository-name cli/app --query uploadId --output text)
		aws ecr upload-layer-part --repository-name cli/app --upload-id $id --part-first-byte 0 --part-last-byte %d --layer-part-blob fileb://part1 >/dev/null
		aws ecr upload-layer-part --repository-name cli/app --upload-id $id --part-first-byte %d --part-last-byte %d --layer-part-blob fileb://part2 >/dev/null
		aws ecr complete-layer-upload --repository-name cli/app --upload-id $id --layer-digests %s --query layerDigest --output text
		aws ecr batch-check-layer-availability --repository-name cli/app --layer-digests %s --query 'layers[].layerAvailability' --output text
	`, 5<<20-1, 5<<20, len(layer)-1, digest, digest))
	same(t, "the upload", got, digest+"\nAVAILABLE")
	config := []byte(`{"architecture":"amd64","os":"linux"}`)
	if _, err := f.registry.PutBlob(t.Context(), "cli/app", config); err != nil {
		t.Fatal(err)
	}
	manifest := harness.Manifest{
		SchemaVersion: 2, MediaType: harness.DockerImage,
		Config: &harness.Descriptor{MediaType: harness.DockerConfig, Digest: harness.Digest(config), Size: int64(len(config))},
		Layers: []harness.Descriptor{{MediaType: "application/vnd.docker.image.rootfs.diff.tar", Digest: digest, Size: int64(len(layer))}},
	}.Bytes(t)
	b.Write("manifest", manifest)
	same(t, "put-image", cli(`aws ecr put-image --repository-name cli/app --image-tag v1 --image-manifest file://manifest --query image.imageId.imageDigest --output text`), harness.Digest(manifest))
	cli(`wget -q -O layer "$(aws ecr get-download-url-for-layer --repository-name cli/app --layer-digest ` + digest + ` --query downloadUrl --output text)"`)
	same(t, "the download", harness.Digest(b.Read("layer")), digest)

	t.Log("images")
	details := decode[imageDetails](t, cli(`aws ecr describe-images --repository-name cli/app --output json`)).ImageDetails
	if len(details) != 1 || details[0].ImageDigest != harness.Digest(manifest) || !slices.Equal(details[0].ImageTags, []string{"v1"}) ||
		details[0].ImageSizeInBytes < int64(len(layer)) || details[0].RegistryID != f.Account || details[0].ImagePushedAt == "" {
		t.Fatalf("aws ecr describe-images shows %+v", details)
	}
	same(t, "list-images", cli(`aws ecr list-images --repository-name cli/app --filter tagStatus=TAGGED --query 'imageIds[].[imageDigest,imageTag]' --output text`), harness.Digest(manifest)+"\tv1")
	same(t, "list-images of none", cli(`aws ecr list-images --repository-name cli/app --filter tagStatus=UNTAGGED --query 'length(imageIds)' --output text`), "0")

	t.Log("deleting")
	deleted := cli(`aws ecr batch-delete-image --repository-name cli/app --image-ids imageTag=v1 imageTag=missing --query '[imageIds[0].imageDigest,failures[0].failureCode,failures[0].failureReason]' --output text`)
	same(t, "batch-delete-image", deleted, harness.Digest(manifest)+"\tImageNotFound\tRequested image not found")
	cli(`aws ecr delete-repository --repository-name cli/app >/dev/null`)
	text = "(RepositoryNotFoundException) when calling the DescribeImages operation: The repository with name 'cli/app' does not exist in the registry with id '" + f.Account + "'"
	if stderr := refused(`aws ecr describe-images --repository-name cli/app`); !strings.Contains(stderr, text) {
		t.Fatalf("describe-images of a deleted repository says %s", stderr)
	}
}

// awscliRetag is the flow of the user guide's "Retagging an image", as printed
// there save for the names.
func awscliRetag(t *testing.T, f *fixture) {
	_, cli, refused := awsBox(t, f)
	f.CreateRepository(t, "cli/retag")
	for i, ref := range []string{"oci", "docker"} {
		pushed := f.image(t, "cli/retag", ref, "amd64", harness.Random(uint64(95+i), 100_000))
		if ref == "docker" {
			// The guide's flow is of docker's manifests: the same image in that form.
			sdk := harness.NewBox(t, "skopeo")
			sdk.Feed(f.Password(t), "skopeo", "login", "--tls-verify=false", "--username", "AWS", "--password-stdin", f.Host)
			sdk.Run("skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--format", "v2s2",
				"docker://"+f.ref("cli/retag", "@"+pushed.Digest), "docker://"+f.ref("cli/retag", ":docker"))
		}
		before := f.registry.Verify(t, "cli/retag", ref)
		cli(strings.NewReplacer("latest", ref, "2017.03", ref+"-2017.03").Replace(`
			MANIFEST=$(aws ecr batch-get-image --repository-name cli/retag --image-ids imageTag=latest --query 'images[].imageManifest' --output text)
			aws ecr put-image --repository-name cli/retag --image-tag 2017.03 --image-manifest "$MANIFEST"
		`))
		after := f.registry.Verify(t, "cli/retag", ref+"-2017.03")
		identical(t, before, after)
		details := decode[imageDetails](t, cli(`aws ecr describe-images --repository-name cli/retag --image-ids imageTag=`+ref+` --output json`)).ImageDetails
		if len(details) != 1 || !slices.Equal(details[0].ImageTags, []string{ref, ref + "-2017.03"}) {
			t.Fatalf("aws ecr describe-images shows %+v", details)
		}
		stderr := refused(strings.ReplaceAll(`
			MANIFEST=$(aws ecr batch-get-image --repository-name cli/retag --image-ids imageTag=latest --query 'images[].imageManifest' --output text)
			aws ecr put-image --repository-name cli/retag --image-tag latest --image-manifest "$MANIFEST"
		`, "latest", ref))
		text := "(ImageAlreadyExistsException) when calling the PutImage operation: Image with digest '" + before.Digest + "' and tag '" + ref + "' already exists in the repository with name 'cli/retag' in registry with id '" + f.Account + "'"
		if !strings.Contains(stderr, text) {
			t.Fatalf("put-image of what is there says %s", stderr)
		}
	}
}
