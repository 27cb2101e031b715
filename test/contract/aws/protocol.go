package aws

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/smithy-go"
)

// envelopes is what stands around every answer, success or failure.
func (s *suite) envelopes(t *testing.T) {
	seen := map[string]bool{}
	for range 3 {
		for _, c := range []call{{op: "DescribeRegistry"}, {op: "CreateRepository"}, {op: "NoSuchOperation"}, {op: "DescribeRegistry", unsigned: true}} {
			a := s.do(t, c)
			s.envelope(t, c.op, a)
			if id := a.header.Get("X-Amzn-Requestid"); seen[id] {
				t.Errorf("the request id %s comes twice", id)
			} else {
				seen[id] = true
			}
			if strings.Contains(string(a.body), ":null") {
				t.Errorf("%s answers with a null: %s", c.op, a.body)
			}
		}
	}
	repo := s.repo(t, "envelope")
	a := s.do(t, call{op: "TagResource", in: object{"resourceArn": s.arn(s.Account, repo), "tags": array{}}})
	if string(a.body) != "{}" {
		t.Errorf("an operation without output answers %q, want {}", a.body)
	}
	s.succeeded(t, "with a charset", s.do(t, call{op: "DescribeRegistry", header: map[string]string{"Content-Type": contentJSON + "; charset=utf-8"}}))
}

func (s *suite) unknownOperations(t *testing.T) {
	for what, target := range map[string]string{
		"an unknown operation":        targetPrefix + "NoSuchOperation",
		"another spelling":            targetPrefix + "describeregistry",
		"no operation":                targetPrefix,
		"no prefix":                   "DescribeRegistry",
		"another service":             "SpencerFrontendServiceX.DescribeRegistry",
		"another version":             "AmazonEC2ContainerRegistry_V20200101.DescribeRegistry",
		"a prefix in another writing": strings.ToLower(targetPrefix) + "DescribeRegistry",
		"nothing":                     "",
	} {
		s.refusal(t, what, s.do(t, call{op: "DescribeRegistry", header: map[string]string{"X-Amz-Target": target}}), "UnknownOperationException", "")
	}
	// What is no JSON call at all is not answered as one.
	for what, c := range map[string]call{
		"another content type": {op: "DescribeRegistry", header: map[string]string{"Content-Type": "application/json"}},
		"GET":                  {op: "DescribeRegistry", method: http.MethodGet},
		"PUT":                  {op: "DescribeRegistry", method: http.MethodPut},
		"a bare GET":           {method: http.MethodGet},
	} {
		a := s.do(t, c)
		if a.status != http.StatusNotFound || a.header.Get("Content-Type") != "text/xml" || strings.TrimSpace(string(a.body)) != "<UnknownOperationException/>" {
			t.Errorf("%s: %d %s %s, want 404 with an empty XML element", what, a.status, a.header.Get("Content-Type"), a.body)
		}
		if !uuidPattern.MatchString(a.header.Get("X-Amzn-Requestid")) {
			t.Errorf("%s: no x-amzn-RequestId", what)
		}
	}
}

// builtAndMissing holds the list of operations that the target publishes
// against what it does: a missing one is answered like one that AWS never had,
// to those who are let in.
func (s *suite) builtAndMissing(t *testing.T) {
	if n := len(s.Built) + len(s.Missing); n < 58 {
		t.Errorf("%d operations are listed, the service model has more", n)
	}
	for _, op := range s.Missing {
		s.refused(t, op, nil, "UnknownOperationException", "")
		s.refusal(t, op+" unsigned", s.do(t, call{op: op, unsigned: true}), "MissingAuthenticationTokenException", "Missing Authentication Token")
	}
	for _, op := range s.Built {
		if a := s.do(t, call{op: op}); a.status != http.StatusOK && strings.Contains(string(a.body), "UnknownOperation") {
			t.Errorf("%s is said to be built and answers %s", op, a.body)
		}
	}
}

func (s *suite) unreadableBodies(t *testing.T) {
	for body, message := range map[string]string{
		"":                             "",
		"{":                            "",
		"null":                         "",
		"{}{}":                         "",
		"{} x":                         "",
		"'{}'":                         "",
		`"text"`:                       "",
		`{"maxResults":}`:              "",
		`{"maxResults":5,}`:            "",
		`{maxResults:5}`:               "",
		"{\"nextToken\":\"a\nb\"}":     "",
		`{"nextToken":"\x41"}`:         "",
		`[]`:                           "Start of list found where not expected",
		`{"maxResults":"5"}`:           "STRING_VALUE can not be converted to an Integer",
		`{"maxResults":true}`:          "TRUE_VALUE can not be converted to an Integer",
		`{"maxResults":[5]}`:           "Start of list found where not expected",
		`{"maxResults":{}}`:            "Start of structure or map found where not expected.",
		`{"nextToken":5}`:              "NUMBER_VALUE can not be converted to a String",
		`{"nextToken":false}`:          "FALSE_VALUE can not be converted to a String",
		`{"repositoryNames":"one"}`:    "Expected list or null",
		`{"repositoryNames":{}}`:       "Start of structure or map found where not expected.",
		`{"repositoryNames":[["ab"]]}`: "Start of list found where not expected",
	} {
		s.refused(t, "DescribeRepositories", body, "SerializationException", message)
	}
	s.refused(t, "DeleteRepository", `{"repositoryName":"ab","force":"true"}`, "SerializationException", "STRING_VALUE can not be converted to a Boolean")
	s.refused(t, "CreateRepository", `{"repositoryName":"ab","encryptionConfiguration":"AES256"}`, "SerializationException", "Expected null")
	s.refused(t, "UploadLayerPart", `{"layerPartBlob":"***"}`, "SerializationException", "The value of a binary member is not base64")
}

// inputMembers is how members of inputs are read.
func (s *suite) inputMembers(t *testing.T) {
	repo := unique("members")
	s.succeed(t, "CreateRepository", `{"repositoryName":"`+repo+`","noSuchMember":{"a":[1,null,{}]},"imageScanningConfiguration":{"scanOnPush":true,"more":1},
		"tags":null,"imageTagMutability":null,"registryId":null}`)
	got := s.succeed(t, "DescribeRepositories", object{"repositoryNames": array{repo}})
	same(t, "scanOnPush", true, got["repositories"].([]any)[0].(object)["imageScanningConfiguration"].(object)["scanOnPush"])
	s.succeed(t, "DescribeRepositories", `{"maxResults":1e1}`)
	s.succeed(t, "DescribeRepositories", `{"nextToken":""}`)
	s.succeed(t, "DescribeRepositories", "\r\n\t {\"maxResults\" : 5 }\n")
	escaped := `\u` + "0063" + unique("reate")[1:]
	s.succeed(t, "CreateRepository", `{"repositoryName":"`+escaped+`"}`)
	s.invalid(t, "CreateRepository", `{"RepositoryName":"`+repo+`"}`, "repositoryName", "must not be null")
	s.invalid(t, "CreateRepository", `{"repositoryName":null}`, "repositoryName", "must not be null")
	s.invalid(t, "TagResource", object{"resourceArn": s.arn(s.Account, repo), "tags": array{object{"key": "k", "value": "v"}}},
		"tags.1.member.key", "Member must not be null")
}

// bodySizes: a body larger than any operation needs is not read.
func (s *suite) bodySizes(t *testing.T) {
	pad := func(n int) string { return `{"x":"` + strings.Repeat("x", n) + `"}` }
	s.succeed(t, "DescribeRegistry", pad(1<<20-10))
	a := s.do(t, call{op: "DescribeRegistry", in: pad(1 << 20)})
	if a.status != http.StatusRequestEntityTooLarge {
		t.Fatalf("status %d, want 413: %s", a.status, a.body)
	}
	s.envelope(t, "too large", a)
	same(t, "too large", object{"__type": "RequestEntityTooLargeException", "message": "The request body must not be longer than 1048576 bytes."}, a.json(t))
}

// sdkErrors: the SDK finds its own type behind each exception, with the members
// that it has besides the message.
func (s *suite) sdkErrors(t *testing.T) {
	ctx := t.Context()
	repo := s.repo(t, "errors")
	k := s.kit(t, repo)
	image := k.image(t)
	s.put(t, repo, "v1", image)
	none := aws.String(unique("none"))

	_, err := s.ecr.DeleteRepository(ctx, &ecr.DeleteRepositoryInput{RepositoryName: none})
	typed[*types.RepositoryNotFoundException](t, err)
	_, err = s.ecr.CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: &repo})
	typed[*types.RepositoryAlreadyExistsException](t, err)
	_, err = s.ecr.DeleteRepository(ctx, &ecr.DeleteRepositoryInput{RepositoryName: &repo})
	typed[*types.RepositoryNotEmptyException](t, err)
	_, err = s.ecr.CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: aws.String("NO")})
	typed[*types.InvalidParameterException](t, err)
	_, err = s.ecr.CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: none, Tags: []types.Tag{{Key: aws.String("aws:k"), Value: aws.String("v")}}})
	typed[*types.InvalidTagParameterException](t, err)
	many := make([]types.Tag, 51)
	for i := range many {
		many[i] = types.Tag{Key: aws.String(unique("k")), Value: aws.String("v")}
	}
	_, err = s.ecr.CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: none, Tags: many})
	typed[*types.TooManyTagsException](t, err)
	_, err = s.ecr.CreateRepository(ctx, &ecr.CreateRepositoryInput{
		RepositoryName: none, EncryptionConfiguration: &types.EncryptionConfiguration{EncryptionType: types.EncryptionTypeKms, KmsKey: none},
	})
	typed(t, err, func(e *types.KmsException) {
		if aws.ToString(e.KmsError) != "NotFoundException" {
			t.Errorf("kmsError is %q", aws.ToString(e.KmsError))
		}
	})

	put := func(in ecr.PutImageInput) error {
		in.RepositoryName = &repo
		_, err := s.ecr.PutImage(ctx, &in)
		return err
	}
	typed[*types.ImageAlreadyExistsException](t, put(ecr.PutImageInput{ImageManifest: &image, ImageTag: aws.String("v1")}))
	typed[*types.ImageDigestDoesNotMatchException](t, put(ecr.PutImageInput{ImageManifest: &image, ImageDigest: aws.String(someDigest())}))
	lacking := k.manifest()
	lacking.Layers = []descriptor{{MediaType: typeLayer, Digest: someDigest(), Size: 5}}
	typed[*types.LayersNotFoundException](t, put(ecr.PutImageInput{ImageManifest: aws.String(lacking.text(t))}))
	typed[*types.ReferencedImagesNotFoundException](t, put(ecr.PutImageInput{ImageManifest: aws.String(indexOf(t, "not there"))}))
	_, err = s.ecr.PutImageTagMutability(ctx, &ecr.PutImageTagMutabilityInput{RepositoryName: &repo, ImageTagMutability: types.ImageTagMutabilityImmutable})
	if err != nil {
		t.Fatal(err)
	}
	typed[*types.ImageTagAlreadyExistsException](t, put(ecr.PutImageInput{ImageManifest: aws.String(k.image(t)), ImageTag: aws.String("v1")}))
	_, err = s.ecr.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: &repo, ImageIds: []types.ImageIdentifier{{ImageTag: aws.String("v2")}}})
	typed[*types.ImageNotFoundException](t, err)
	s.sdkLayerErrors(t, repo, k.layer.Digest)
}

func (s *suite) sdkLayerErrors(t *testing.T, repo, layer string) {
	ctx := t.Context()
	download := func(digest string) error {
		_, err := s.ecr.GetDownloadUrlForLayer(ctx, &ecr.GetDownloadUrlForLayerInput{RepositoryName: &repo, LayerDigest: &digest})
		return err
	}
	typed[*types.LayersNotFoundException](t, download(someDigest()))
	typed[*types.LayerInaccessibleException](t, download(s.layer(t, repo, randomBytes(9))))

	upload := s.begin(t, repo)
	send := func(first, last int64, b []byte) error {
		_, err := s.ecr.UploadLayerPart(ctx, &ecr.UploadLayerPartInput{
			RepositoryName: &repo, UploadId: &upload, PartFirstByte: &first, PartLastByte: &last, LayerPartBlob: b,
		})
		return err
	}
	finish := func(digest string) error {
		_, err := s.ecr.CompleteLayerUpload(ctx, &ecr.CompleteLayerUploadInput{RepositoryName: &repo, UploadId: &upload, LayerDigests: []string{digest}})
		return err
	}
	typed[*types.EmptyUploadException](t, finish(layer))
	if err := send(0, 9, randomBytes(10)); err != nil {
		t.Fatal(err)
	}
	typed(t, send(20, 29, randomBytes(10)), func(e *types.InvalidLayerPartException) {
		if aws.ToString(e.RegistryId) != s.Account || aws.ToString(e.RepositoryName) != repo || aws.ToString(e.UploadId) != upload || aws.ToInt64(e.LastValidByteReceived) != 9 {
			t.Errorf("the exception's members are %s, %s, %s, %d", aws.ToString(e.RegistryId), aws.ToString(e.RepositoryName), aws.ToString(e.UploadId), aws.ToInt64(e.LastValidByteReceived))
		}
	})
	if err := send(10, 19, randomBytes(10)); err != nil {
		t.Fatal(err)
	}
	typed[*types.LayerPartTooSmallException](t, finish(layer))
	upload = s.begin(t, repo)
	if err := send(0, 9, randomBytes(10)); err != nil {
		t.Fatal(err)
	}
	typed[*types.InvalidLayerException](t, finish(layer))
	upload = "00000000-0000-4000-8000-000000000000"
	typed[*types.UploadNotFoundException](t, finish(layer))
}

// typed fails unless err is the SDK's exception E with a message, and shows it
// to those who look.
func typed[E smithy.APIError](t *testing.T, err error, look ...func(E)) {
	t.Helper()
	var e E
	if !errors.As(err, &e) {
		t.Fatalf("the error is %v (%T), want a %T", err, err, e)
	}
	if e.ErrorMessage() == "" {
		t.Errorf("%s has no message", e.ErrorCode())
	}
	for _, l := range look {
		l(e)
	}
}

// repositoryCalls are the operations on one repository, with an input that is
// right but for the repository.
func repositoryCalls(t *testing.T) map[string]object {
	t.Helper()
	digest, upload := someDigest(), "00000000-0000-4000-8000-000000000000"
	return map[string]object{
		"BatchCheckLayerAvailability":   {"layerDigests": array{digest}},
		"BatchDeleteImage":              {"imageIds": array{byTag("v1")}},
		"BatchGetImage":                 {"imageIds": array{byTag("v1")}},
		"CompleteLayerUpload":           {"uploadId": upload, "layerDigests": array{digest}},
		"DeleteRepository":              {},
		"DescribeImageScanFindings":     {"imageId": byTag("v1")},
		"DescribeImages":                {},
		"GetDownloadUrlForLayer":        {"layerDigest": digest},
		"InitiateLayerUpload":           {},
		"ListImageReferrers":            {"subjectId": object{"imageDigest": digest}},
		"ListImages":                    {},
		"PutImage":                      {"imageManifest": indexOf(t)},
		"PutImageScanningConfiguration": {"imageScanningConfiguration": object{}},
		"PutImageTagMutability":         {"imageTagMutability": "MUTABLE"},
		"StartImageScan":                {"imageId": byTag("v1")},
		"UploadLayerPart":               {"uploadId": upload, "partFirstByte": 0, "partLastByte": 0, "layerPartBlob": "AA=="},
	}
}

// commonRefusals are the same for every operation on a repository, and come in
// this order: what is malformed, what is not allowed, what is not there.
func (s *suite) commonRefusals(t *testing.T) {
	const stranger = "111122223333"
	name := unique("missing")
	action := func(op string) string {
		if op == "ListImageReferrers" { // IAM has no action of that name
			op = "BatchGetImage"
		}
		return "ecr:" + op
	}
	for op, in := range repositoryCalls(t) {
		with := func(members object) object {
			out := object{}
			for _, m := range []object{in, members} {
				for k, v := range m {
					out[k] = v
				}
			}
			return out
		}
		s.invalid(t, op, in, "repositoryName", "must not be null")
		s.invalid(t, op, with(object{"repositoryName": "Team/App", "registryId": stranger}), "repositoryName", "must satisfy regular expression '"+namePattern+"'")
		for _, id := range []string{"", "12345678901", "1234567890123", "12345678901a"} {
			s.invalid(t, op, with(object{"repositoryName": name, "registryId": id}), "registryId", "must satisfy regular expression '[0-9]{12}'")
		}
		s.refused(t, op, with(object{"repositoryName": name, "registryId": stranger}), "AccessDeniedException", s.denied(s.me, action(op), s.arn(stranger, name)))
		s.refused(t, op, with(object{"repositoryName": name}), "RepositoryNotFoundException", s.noRepository(name))
		s.refused(t, op, with(object{"repositoryName": name, "registryId": s.Account}), "RepositoryNotFoundException", s.noRepository(name))
	}
	for _, op := range []string{"ListTagsForResource", "TagResource", "UntagResource"} {
		in := func(arn string) object {
			return object{"resourceArn": arn, "tags": array{}, "tagKeys": array{}}
		}
		for _, bad := range []string{"", "nonsense", "arn:aws:ecr", s.arn(s.Account, "") + "Team", s.arn("12345", name), strings.Replace(s.arn(s.Account, name), ":ecr:", ":s3:", 1),
			strings.Replace(s.arn(s.Account, name), "arn:aws:", "arn:other:", 1), strings.Replace(s.arn(s.Account, name), s.Region, "moon-west-9", 1),
			strings.Replace(s.arn(s.Account, name), ":repository/", ":registry/", 1)} {
			s.invalid(t, op, in(bad), "resourceArn", "Invalid ARN")
		}
		s.refused(t, op, in(s.arn(stranger, name)), "AccessDeniedException", s.denied(s.me, "ecr:"+op, s.arn(stranger, name)))
		s.refused(t, op, in(s.arn(s.Account, name)), "RepositoryNotFoundException", s.noRepository(name))
	}
}
