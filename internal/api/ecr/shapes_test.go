package ecr_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/json11"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/api/ecr"
	"github.com/berth-registry/berth/internal/api/ecr/templates"
	"github.com/berth-registry/berth/internal/domain/errs"
)

// checked decodes a body as the pipeline does and holds it against the model.
func checked(t *testing.T, in interface{ Validate() error }, body string) error {
	t.Helper()
	if err := (json11.Protocol{}).Decode(aws.Payload{Body: []byte(body)}, in); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return in.Validate()
}

const namePattern = `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*`

// The texts that clients and people know (error catalogue of the reference).
func TestValidate(t *testing.T) {
	hundredAndOne := strings.TrimSuffix(strings.Repeat(`{"imageTag":"a"},`, 101), ",")
	for _, tt := range []struct {
		name string
		in   interface{ Validate() error }
		body string
		want string // what stands between "Invalid parameter at " and the end
	}{
		{"name with upper case", new(ecr.CreateRepositoryInput), `{"repositoryName":"Team/App"}`, `'repositoryName': 'must satisfy regular expression '` + namePattern + `''`},
		{"name with a tail", new(ecr.CreateRepositoryInput), `{"repositoryName":"team/app\n"}`, `'repositoryName': 'must satisfy regular expression '` + namePattern + `''`},
		{"name with three underscores", new(ecr.CreateRepositoryInput), `{"repositoryName":"a___b"}`, `'repositoryName': 'must satisfy regular expression '` + namePattern + `''`},
		{"short name", new(ecr.CreateRepositoryInput), `{"repositoryName":"a"}`, `'repositoryName': 'must have length greater than or equal to 2'`},
		{"long name", new(ecr.CreateRepositoryInput), `{"repositoryName":"` + strings.Repeat("a", 257) + `"}`, `'repositoryName': 'must have length less than or equal to 256'`},
		{"no name", new(ecr.CreateRepositoryInput), `{}`, `'repositoryName': 'must not be null'`},
		{"name in a list", new(ecr.DescribeRepositoriesInput), `{"repositoryNames":["ok","Not"]}`, `'repositoryName': 'must satisfy regular expression '` + namePattern + `''`},
		{"registry", new(ecr.CreateRepositoryInput), `{"registryId":"12345678901","repositoryName":"ok"}`, `'registryId': 'must satisfy regular expression '[0-9]{12}''`},
		{"registries", new(ecr.GetAuthorizationTokenInput), `{"registryIds":["1"]}`, `'registryIds': 'Member must satisfy constraint: [Member must satisfy regular expression pattern: [0-9]{12}]'`},
		{"no registries", new(ecr.GetAuthorizationTokenInput), `{"registryIds":[]}`, `'registryIds': 'Member must have length greater than or equal to 1'`},
		{"large page", new(ecr.DescribeRepositoriesInput), `{"maxResults":1001}`, `'maxResults': 'Member must have value less than or equal to 1000'`},
		{"empty page", new(ecr.DescribeRepositoriesInput), `{"maxResults":0}`, `'maxResults': 'Member must have value greater than or equal to 1'`},
		{"mutability", new(ecr.PutImageTagMutabilityInput), `{"repositoryName":"ok","imageTagMutability":"immutable"}`,
			`'imageTagMutability': 'Member must satisfy enum value set: [IMMUTABLE, MUTABLE, MUTABLE_WITH_EXCLUSION, IMMUTABLE_WITH_EXCLUSION]'`},
		{"another enum", new(ecr.ListImagesInput), `{"repositoryName":"ok","filter":{"tagStatus":"SOME"}}`, `'filter.tagStatus': 'Member must satisfy enum value set: [TAGGED, UNTAGGED, ANY]'`},
		{"no mutability", new(ecr.PutImageTagMutabilityInput), `{"repositoryName":"ok"}`, `'imageTagMutability': 'Member must not be null'`},
		{"no images", new(ecr.BatchGetImageInput), `{"repositoryName":"ok","imageIds":[]}`, `'imageIds': 'Member must have length greater than or equal to 1'`},
		{"too many images", new(ecr.BatchGetImageInput), `{"repositoryName":"ok","imageIds":[` + hundredAndOne + `]}`, `'imageIds': 'Member must have length less than or equal to 100'`},
		{"an empty tag in a list", new(ecr.BatchGetImageInput), `{"repositoryName":"ok","imageIds":[{"imageTag":"a"},{"imageTag":""}]}`, `'imageIds.2.member.imageTag': 'Member must have length greater than or equal to 1'`},
		{"a long tag", new(ecr.PutImageInput), `{"repositoryName":"ok","imageManifest":"{}","imageTag":"` + strings.Repeat("a", 301) + `"}`, `'imageTag': 'Member must have length less than or equal to 300'`},
		{"an empty manifest", new(ecr.PutImageInput), `{"repositoryName":"ok","imageManifest":""}`, `'imageManifest': 'Member must have length greater than or equal to 1'`},
		{"a tag without a key", new(ecr.TagResourceInput), `{"resourceArn":"arn","tags":[{"Key":"a","Value":"b"},{"Value":"c"}]}`, `'tags.2.member.key': 'Member must not be null'`},
		{"an upload", new(ecr.CompleteLayerUploadInput), `{"repositoryName":"ok","uploadId":"x","layerDigests":["sha256:00"]}`,
			`'uploadId': 'must satisfy regular expression '[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}''`},
		{"a negative byte", new(ecr.UploadLayerPartInput), `{"repositoryName":"ok","uploadId":"00000000-0000-0000-0000-000000000000","partFirstByte":-1,"partLastByte":1,"layerPartBlob":""}`,
			`'partFirstByte': 'Member must have value greater than or equal to 0'`},
		{"no blob", new(ecr.UploadLayerPartInput), `{"repositoryName":"ok","uploadId":"00000000-0000-0000-0000-000000000000","partFirstByte":0,"partLastByte":1}`, `'layerPartBlob': 'Member must not be null'`},
		{"a prefix", new(templates.CreateRepositoryCreationTemplateInput), `{"prefix":"Bad","appliedFor":[]}`,
			`'prefix': 'Member must satisfy regular expression pattern: ^([a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*/?|ROOT)$'`},
		{"deep", new(templates.CreateRepositoryCreationTemplateInput), `{"prefix":"ok","appliedFor":["REPLICATION"],"imageTagMutabilityExclusionFilters":[{"filterType":"WILDCARD","filter":"ok"},{"filterType":"WILDCARD","filter":"/"}]}`,
			`'imageTagMutabilityExclusionFilters.2.member.filter': 'Member must satisfy regular expression pattern: ^[0-9a-zA-Z._*-]{1,128}$'`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := checked(t, tt.in, tt.body)
			member, constraint, _ := strings.Cut(tt.want, ": ")
			want := "Invalid parameter at " + member + " failed to satisfy constraint: " + constraint
			if err == nil || err.Error() != want || !errs.Is(err, errs.InvalidParameter) {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

func TestValidateAccepts(t *testing.T) {
	for _, tt := range []struct {
		in   interface{ Validate() error }
		body string
	}{
		{new(ecr.CreateRepositoryInput), `{"repositoryName":"a__b/c--d.e_f"}`},
		{new(ecr.CreateRepositoryInput), `{"repositoryName":"ok","tags":[],"imageTagMutability":"MUTABLE","encryptionConfiguration":{"encryptionType":"AES256"}}`},
		{new(ecr.DescribeRepositoriesInput), `{}`},
		{new(ecr.DescribeRepositoriesInput), `{"maxResults":1000,"nextToken":"x"}`},
		// Digests of images have no pattern in the model: a wrong one is a
		// failure of that image, not of the request.
		{new(ecr.BatchGetImageInput), `{"repositoryName":"ok","imageIds":[{"imageDigest":"no digest"},{}]}`},
		{new(ecr.BatchCheckLayerAvailabilityInput), `{"repositoryName":"ok","layerDigests":["no digest",""]}`},
		{new(ecr.UploadLayerPartInput), `{"repositoryName":"ok","uploadId":"00000000-0000-0000-0000-000000000000","partFirstByte":0,"partLastByte":0,"layerPartBlob":""}`},
	} {
		if err := checked(t, tt.in, tt.body); err != nil {
			t.Errorf("%s: %v", tt.body, err)
		}
	}
}

func TestOutputForm(t *testing.T) {
	id, mutability := "123456789012", ecr.ImageTagMutabilityImmutable
	out := ecr.DescribeRepositoriesOutput{Repositories: []ecr.Repository{{
		RegistryId: &id, ImageTagMutability: &mutability, CreatedAt: shape.At(time.Unix(1504295007, 123e6)),
	}}}
	got, err := json.Marshal(out)
	const want = `{"repositories":[{"registryId":"123456789012","createdAt":1504295007.123,"imageTagMutability":"IMMUTABLE"}]}`
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	got, err = json.Marshal(ecr.BatchGetImageOutput{Images: []ecr.Image{}, Failures: []ecr.ImageFailure{}})
	if err != nil || string(got) != `{"images":[],"failures":[]}` {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestNames(t *testing.T) {
	if n := len(ecr.OperationNames()); n != 62 {
		t.Errorf("%d operations, the model has 62", n)
	}
	statuses, members := map[string]int{}, map[string]string{}
	for _, e := range ecr.ErrorShapes() {
		statuses[e.Name], members[e.Name] = e.Status, strings.Join(e.Members, " ")
	}
	if statuses["ServerException"] != 500 || statuses["RepositoryNotFoundException"] != 400 ||
		members["InvalidLayerPartException"] != "registryId repositoryName uploadId lastValidByteReceived" || members["KmsException"] != "kmsError" {
		t.Errorf("got %v and %v", statuses, members)
	}
}
