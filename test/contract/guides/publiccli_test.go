package guides

import (
	"bytes"
	"encoding/json"
	"image"
	"image/png"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecrpublic"

	"github.com/berth-registry/berth/test/contract/harness"
)

// TestPublicCLI runs the commands of the AWS CLI that the public guide prints, but for
// those that are followed by docker or helm: with the account's id, an image's digest and
// the examples' names in the place of what stands for them, and with nothing else changed
// but the curl command's address.
func TestPublicCLI(t *testing.T) {
	w := newWorld(t)
	b := harness.NewBox(t, "bash", "aws", "curl", "base64")
	env := b.Run(w.Binary(), "env", "--data", w.Data) + "\naws() { command aws --endpoint-url \"$AWS_ENDPOINT_URL\" \"$@\"; }\nexport AWS_DEFAULT_OUTPUT=json\n"
	cli := func(script string) string {
		t.Helper()
		return b.Script(env + script)
	}
	answer := func(script string) (out map[string]any) {
		t.Helper()
		must(t, script, json.Unmarshal([]byte(cli(script)), &out))
		return out
	}
	shows := func(script string, wanted ...string) string {
		t.Helper()
		out := cli(script)
		for _, want := range wanted {
			if !regexp.MustCompile(want).MatchString(out) {
				t.Errorf("%s\ndoes not show %s:\n%s", script, want, out)
			}
		}
		return out
	}

	t.Log("Step 3: Create a public repository")
	var logo bytes.Buffer
	must(t, "the logo", png.Encode(&logo, image.NewNRGBA(image.Rect(0, 0, 200, 100))))
	b.Write("myrepoimage.png", logo.Bytes())
	// The file of the guide has to come out of a shell, which fills in the logo.
	cli(`cat > repositorycatalogdata.json <<EOF
{
  "description": "This is a test repo for an Amazon ECR tutorial.",
  "architectures": [
    "x86"
  ],
  "operatingSystems": [
    "Linux"
  ],
  "logoImageBlob": "$(cat myrepoimage.png |base64 -w 0)",
  "aboutText": "This repository is used as a tutorial only.",
  "usageText": "This repository is not for public use."
}
EOF`)
	created := answer(`aws ecr-public create-repository \
  --repository-name ecr-tutorial \
  --catalog-data file://repositorycatalogdata.json \
  --region us-east-1`)
	repository, data := created["repository"].(map[string]any), created["catalogData"].(map[string]any)
	uri := repository["repositoryUri"].(string)
	host, path, _ := strings.Cut(uri, "/")
	alias, _, _ := strings.Cut(path, "/")
	if host != w.PublicHost || path != alias+"/ecr-tutorial" || repository["repositoryArn"] != publicARN(account, "ecr-tutorial") || repository["registryId"] != account {
		t.Errorf("the repository is %v", repository)
	}
	if data["description"] != "This is a test repo for an Amazon ECR tutorial." || data["aboutText"] != "This repository is used as a tutorial only." ||
		data["usageText"] != "This repository is not for public use." || !strings.Contains(data["logoUrl"].(string), "/logo/") {
		t.Errorf("the catalog data is %v", data)
	}

	t.Log("Using HTTP API authentication")
	tutorial := w.root.publicRepository(t, "http-api")
	token := `TOKEN=$(aws ecr-public get-authorization-token --region us-east-1 --output=text --query 'authorizationData.authorizationToken')
`
	shows(token+`curl -sS -i -H "Authorization: Bearer $TOKEN" `+w.PublicEndpoint+`/v2/`+tutorial.alias+`/http-api/manifests/v1`,
		`HTTP/1.1 200 OK`, `(?i)Docker-Distribution-API-Version: registry/2.0`, `"schemaVersion":\s*2`, tutorial.layer)
	if password := cli(`aws ecr-public get-login-password --region us-east-1`); len(password) < 100 {
		t.Errorf("the password is %q", password)
	}
	expires := answer(`aws ecr-public get-authorization-token --region us-east-1`)["authorizationData"].(map[string]any)["expiresAt"].(string)
	if at, err := time.Parse(time.RFC3339, expires); err != nil || at.Before(time.Now().Add(11*time.Hour)) || at.After(time.Now().Add(13*time.Hour)) {
		t.Errorf("the token ends %s: %v", expires, err)
	}

	t.Log("Working with tags using the AWS CLI or API")
	arn := "arn:aws:ecr-public::" + account + ":repository/ecr-tutorial"
	cli(`aws ecr-public tag-resource \
 --resource-arn ` + arn + ` \
 --tags Key=stack,Value=dev \
 --region us-east-1`)
	cli(`aws ecr-public tag-resource \
 --resource-arn ` + arn + ` \
 --tags Key=key1,Value=value1 Key=key2,Value=value2 Key=key3,Value=value3 \
 --region us-east-1`)
	cli(`aws ecr-public untag-resource \
 --resource-arn ` + arn + ` \
 --tag-keys key2 \
 --region us-east-1`)
	tagged := func(arn string) string {
		t.Helper()
		return compact(t, cli(`aws ecr-public list-tags-for-resource \
 --resource-arn `+arn+` \
 --region us-east-1`))
	}
	if got, want := tagged(arn), `{"tags":[{"Key":"key1","Value":"value1"},{"Key":"key3","Value":"value3"},{"Key":"stack","Value":"dev"}]}`; got != want {
		t.Errorf("the tags are %s, want %s", got, want)
	}
	shows(`aws ecr-public create-repository \
 --repository-name test-repo \
 --tags Key=team,Value=devs \
 --region us-east-1`, `"catalogData": \{\}`, `"repositoryName": "test-repo"`)
	if got, want := tagged(publicARN(account, "test-repo")), `{"tags":[{"Key":"team","Value":"devs"}]}`; got != want {
		t.Errorf("the tags are %s, want %s", got, want)
	}

	t.Log("Public repository policies")
	w.root.user(t, "username")
	b.Write("policy.json", []byte(fill(t, read(t, "26-public-guide-describe.json"), "account-id", account)))
	policy := cli(`aws ecr-public set-repository-policy --repository-name test-repo --policy-text file://policy.json --region us-east-1 --query policyText --output text`)
	sameJSON(t, "the policy", policy, fill(t, read(t, "26-public-guide-describe.json"), "account-id", account))
	for _, op := range []string{"get", "delete"} {
		if got := cli(`aws ecr-public ` + op + `-repository-policy --repository-name test-repo --region us-east-1 --query policyText --output text`); got != policy {
			t.Errorf("%s-repository-policy gives %s, want %s", op, got, policy)
		}
	}

	t.Log("Pushing a Helm chart: create-repository and describe-images")
	shows(`aws ecr-public create-repository \
 --repository-name artifact-test \
 --region us-east-1`, `"repositoryUri": "`+regexp.QuoteMeta(w.PublicHost+"/"+alias)+`/artifact-test"`)
	w.root.publicRepository(t, "my-web-app")
	for _, field := range []string{`"registryId": "` + account + `"`, `"repositoryName": "my-web-app"`, `"imageDigest": "sha256:`, `"v1"`, `"imageSizeInBytes": \d+`, `"imagePushedAt": `,
		`"imageManifestMediaType": "application/vnd.oci.image.manifest.v1\+json"`, `"artifactMediaType": "application/vnd.oci.image.config.v1\+json"`} {
		shows(`aws ecr-public describe-images \
 --repository-name my-web-app \
 --region us-east-1`, field)
	}

	t.Log("Deleting a public image")
	mine := w.root.publicRepository(t, "my-repo")
	_, err := w.root.public().PutImage(t.Context(), &ecrpublic.PutImageInput{RepositoryName: &mine.name, ImageManifest: &mine.manifest, ImageTag: aws.String("latest")})
	must(t, "PutImage", err)
	digest := harness.Digest([]byte(mine.manifest))
	shows(`aws ecr-public describe-image-tags \
 --repository-name my-repo \
 --region us-east-1`, `"imageTag": "latest"`, `"imageTag": "v1"`, `"createdAt": "`, `"imageDigest": "`+digest+`"`)
	shows(`aws ecr-public batch-delete-image \
 --repository-name my-repo \
 --image-ids imageTag=latest \
 --region us-east-1`, `"imageTag": "latest"`, `"failures": \[\]`)
	shows(`aws ecr-public batch-delete-image \
 --repository-name my-repo \
 --image-ids imageDigest=`+digest+` \
 --region us-east-1`, `"imageTag": "v1"`, `"imageDigest": "`+digest+`"`, `"failures": \[\]`)
	shows(`aws ecr-public describe-image-tags --repository-name my-repo --region us-east-1`, `"imageTagDetails": \[\]`)

	t.Log("Step 6 and 7: Delete a public image, and a public repository")
	_, err = w.root.public().DeleteRepository(t.Context(), &ecrpublic.DeleteRepositoryInput{RepositoryName: aws.String("ecr-tutorial")})
	must(t, "DeleteRepository", err)
	full := w.root.publicRepository(t, "ecr-tutorial")
	for _, tag := range []string{"latest", "other"} {
		_, err = w.root.public().PutImage(t.Context(), &ecrpublic.PutImageInput{RepositoryName: &full.name, ImageManifest: &full.manifest, ImageTag: &tag})
		must(t, "PutImage", err)
	}
	shows(`aws ecr-public batch-delete-image \
  --repository-name ecr-tutorial \
  --image-ids imageTag=latest \
  --region us-east-1`, `"imageTag": "latest"`)
	b.Refused("RepositoryNotEmptyException", "bash", "-c", env+`aws ecr-public delete-repository --repository-name ecr-tutorial --region us-east-1`)
	shows(`aws ecr-public delete-repository \
  --repository-name ecr-tutorial \
  --force \
  --region us-east-1`, `"repositoryName": "ecr-tutorial"`)
	b.Refused("RepositoryNotFoundException", "bash", "-c", env+`aws ecr-public describe-images --repository-name ecr-tutorial --region us-east-1`)

	t.Log("what the guide says of the Region")
	b.Refused("ECR Public is in us-east-1 only: call with --region us-east-1", "bash", "-c", env+`aws ecr-public get-login-password --region us-west-2`)
	w.MustFsck(t)
}
