package aws_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/json11"
	"github.com/berth-registry/berth/internal/api/aws/query"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/api/aws/sigv4"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/infra/clock"
)

type uploadInput struct {
	RepositoryName *string `json:"repositoryName,omitzero"`
	UploadID       *string `json:"uploadId,omitzero"`
	LayerPartBlob  []byte  `json:"layerPartBlob,omitzero"`
}

func (in *uploadInput) Validate() error {
	var c shape.Check
	if in.RepositoryName == nil {
		c.Own().Missing("repositoryName")
	}
	return c.JSON()
}

type uploadOutput struct {
	LastByteReceived *int64 `json:"lastByteReceived,omitzero"`
}

type tokenInput struct{}

func (*tokenInput) Validate() error { return nil }

type tokenOutput struct {
	AuthorizationData []tokenData `json:"authorizationData,omitzero"`
}

type tokenData struct {
	AuthorizationToken *string          `json:"authorizationToken,omitzero"`
	ExpiresAt          *shape.Timestamp `json:"expiresAt,omitzero"`
}

type keys struct{}

func (keys) AccessKey(_ context.Context, id, _ string) (sigv4.Key, bool, error) {
	return sigv4.Key{Secret: "secret", Principal: root, Enabled: true}, id == "AKIDEXAMPLE", nil
}

var expiry = time.Date(2026, 11, 21, 14, 4, 5, 123e6, time.UTC)

// sdkPipeline serves a few operations under ECR's and STS's names, with real
// signatures.
func sdkPipeline(t *testing.T) string {
	h := newHarness(t)
	table := aws.ErrorTable{
		errs.Internal:           {Name: "ServerException", Status: 500},
		errs.RepositoryNotFound: {Name: "RepositoryNotFoundException", Status: 400},
		errs.LayerPartInvalid:   {Name: "InvalidLayerPartException", Status: 400},
		errs.AccessDenied:       {Name: "AccessDeniedException", Status: 400},
	}
	upload := aws.Op("UploadLayerPart", true,
		func(_ *aws.Call, in *uploadInput) ([]authz.Need, error) {
			return []authz.Need{{Action: "ecr:UploadLayerPart", Resource: shipARN(*in.RepositoryName)}}, nil
		},
		func(_ context.Context, _ *aws.Call, in *uploadInput) (*uploadOutput, error) {
			switch *in.RepositoryName {
			case "missing":
				return nil, errs.New(errs.RepositoryNotFound, "The repository with name 'missing' does not exist")
			case "gap":
				return nil, errs.New(errs.LayerPartInvalid, "a gap").With("lastValidByteReceived", int64(41)).With("uploadId", *in.UploadID)
			}
			return &uploadOutput{LastByteReceived: p(int64(len(in.LayerPartBlob)) - 1)}, nil
		})
	token := aws.Op("GetAuthorizationToken", false,
		func(*aws.Call, *tokenInput) ([]authz.Need, error) {
			return []authz.Need{{Action: "ecr:GetAuthorizationToken"}}, nil
		},
		func(context.Context, *aws.Call, *tokenInput) (*tokenOutput, error) {
			return &tokenOutput{AuthorizationData: []tokenData{{AuthorizationToken: p("QVdTOng="), ExpiresAt: shape.At(expiry)}}}, nil
		})
	services := h.services()
	who := services[1]
	who.Name, who.SigningNames = "sts", []string{"sts"}
	who.Protocol = query.Protocol{Namespace: "https://sts.amazonaws.com/doc/2011-06-15/"}
	pipeline, err := aws.New(aws.Config{
		Services: []aws.Service{{
			Name: "ecr", EventSource: "ecr.amazonaws.com", TargetPrefix: "AmazonEC2ContainerRegistry_V20150921", Protocol: json11.Protocol{},
			SigningNames: []string{"ecr"}, Known: []string{"UploadLayerPart", "GetAuthorizationToken", "StartImageScan"},
			Operations: []aws.Operation{upload, token}, Errors: table.Named, BodyLimits: map[string]int64{"UploadLayerPart": aws.LayerPartBodyLimit},
			ErrorShapes: []shape.Error{{Name: "InvalidLayerPartException", Status: 400, Members: []string{"registryId", "repositoryName", "uploadId", "lastValidByteReceived"}}},
		}, who},
		Authenticator: sigv4.New(sigv4.Config{Keys: keys{}, Clock: clock.System{}}),
		Authorizer: allowFunc(func(r authz.Request) error {
			if r.Needs[0].Resource == shipARN("forbidden") {
				return errs.New(errs.AccessDenied, "User: %s is not authorized", r.Principal.ARN)
			}
			return nil
		}),
		Audit: h, Clock: clock.System{}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(pipeline)
	t.Cleanup(server.Close)
	return server.URL
}

func credentials(id, secret string) sdk.CredentialsProvider {
	return sdk.CredentialsProviderFunc(func(context.Context) (sdk.Credentials, error) {
		return sdk.Credentials{AccessKeyID: id, SecretAccessKey: secret}, nil
	})
}

// The SDK signs, sends and reads as AWS's own tools do.
func TestWithTheSDK(t *testing.T) {
	url := sdkPipeline(t)
	ctx := t.Context()
	client := func(id, secret string) *ecr.Client {
		return ecr.New(ecr.Options{Region: "eu-test-1", BaseEndpoint: &url, Credentials: credentials(id, secret), RetryMaxAttempts: 1})
	}
	c := client("AKIDEXAMPLE", "secret")
	put := func(repository string, blob []byte) (*ecr.UploadLayerPartOutput, error) {
		return c.UploadLayerPart(ctx, &ecr.UploadLayerPartInput{
			RepositoryName: &repository, UploadId: sdk.String("u-1"), PartFirstByte: sdk.Int64(0), PartLastByte: sdk.Int64(1), LayerPartBlob: blob,
		})
	}

	out, err := put("team/app", make([]byte, 20<<20))
	if err != nil || *out.LastByteReceived != 20<<20-1 {
		t.Errorf("a part of 20 MiB: %+v, %v", out, err)
	}
	token, err := c.GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
	if err != nil || len(token.AuthorizationData) != 1 || !token.AuthorizationData[0].ExpiresAt.Equal(expiry) {
		t.Errorf("a token: %+v, %v", token, err)
	}

	var notFound *ecrtypes.RepositoryNotFoundException
	if _, err := put("missing", []byte("x")); !errors.As(err, &notFound) || notFound.ErrorMessage() != "The repository with name 'missing' does not exist" {
		t.Errorf("a missing repository: %v", err)
	}
	var part *ecrtypes.InvalidLayerPartException
	if _, err := put("gap", []byte("x")); !errors.As(err, &part) || *part.LastValidByteReceived != 41 || *part.UploadId != "u-1" || part.ErrorMessage() != "a gap" {
		t.Errorf("a gap: %v", err)
	}
	var response *smithyhttp.ResponseError
	if _, err := put("missing", []byte("x")); !errors.As(err, &response) || response.Response.Header.Get("x-amzn-RequestId") == "" {
		t.Errorf("no request id in %v", err)
	}

	_, forbidden := put("forbidden", []byte("x"))
	_, notBuilt := c.StartImageScan(ctx, &ecr.StartImageScanInput{RepositoryName: sdk.String("a"), ImageId: &ecrtypes.ImageIdentifier{ImageTag: sdk.String("a")}})
	_, wrongSecret := client("AKIDEXAMPLE", "wrong").GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
	_, wrongKey := client("AKIDNOBODY", "secret").GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
	for want, err := range map[string]error{
		"AccessDeniedException": forbidden, "UnknownOperationException": notBuilt,
		"InvalidSignatureException": wrongSecret, "UnrecognizedClientException": wrongKey,
	} {
		if got := errorCode(err); got != want {
			t.Errorf("got %s (%v), want %s", got, err, want)
		}
	}
}

func errorCode(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

func TestWithTheSDKForQuery(t *testing.T) {
	url := sdkPipeline(t)
	ctx := t.Context()
	client := func(id string) *sts.Client {
		return sts.New(sts.Options{Region: "us-east-1", BaseEndpoint: &url, Credentials: credentials(id, "secret"), RetryMaxAttempts: 1})
	}
	out, err := client("AKIDEXAMPLE").GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil || *out.Account != string(account) || *out.Arn != root.ARN {
		t.Errorf("got %+v, %v", out, err)
	}
	if _, err := client("AKIDNOBODY").GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}); errorCode(err) != "InvalidClientTokenId" {
		t.Errorf("got %v", err)
	}
	_, err = client("AKIDEXAMPLE").AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: sdk.String("arn:aws:iam::123456789012:role/a"), RoleSessionName: sdk.String("ab")})
	if errorCode(err) != "InvalidAction" {
		t.Errorf("got %v", err)
	}
}
