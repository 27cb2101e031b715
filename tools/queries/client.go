package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const region = "us-east-1"

// client calls the program as docker and the AWS CLI do.
type client struct {
	base          string
	authorization string
	ecr           *ecr.Client
	// round tells what one round pushes from what all others do.
	round string
	// What one step leaves to the next.
	location string
	layer    []byte
	image    digest.Digest
	// signature refers to image.
	signature digest.Digest
	tokens    map[string]*string
}

func keys(id, secret string) aws.CredentialsProviderFunc {
	return func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret}, nil
	}
}

// newUser makes an IAM user as pipelines have one, and returns its client.
func newUser(ctx context.Context, base, user string) (*client, error) {
	root := iam.New(iam.Options{BaseEndpoint: &base, Region: region, RetryMaxAttempts: 1, Credentials: keys(rootKey, rootSecret), HTTPClient: sdkClient{}})
	if _, err := root.CreateUser(ctx, &iam.CreateUserInput{UserName: &user}); err != nil {
		return nil, err
	}
	policy := "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryFullAccess"
	if _, err := root.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: &user, PolicyArn: &policy}); err != nil {
		return nil, err
	}
	made, err := root.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &user})
	if err != nil {
		return nil, err
	}
	c := &client{base: base, tokens: map[string]*string{}, ecr: ecr.New(ecr.Options{
		BaseEndpoint: &base, Region: region, RetryMaxAttempts: 1, HTTPClient: sdkClient{},
		Credentials: keys(*made.AccessKey.AccessKeyId, *made.AccessKey.SecretAccessKey),
	})}
	return c, c.authorize(ctx)
}

func (c *client) authorize(ctx context.Context) error {
	out, err := c.ecr.GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
	if err == nil {
		c.authorization = "Basic " + *out.AuthorizationData[0].AuthorizationToken
	}
	return err
}

// sdkClient sends the SDK's requests with a body of its own, since the SDK closes
// the body under net/http once it has the answer's header.
type sdkClient struct{}

func (sdkClient) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.Body != http.NoBody {
		content, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(content))
	}
	return http.DefaultClient.Do(r)
}

// do sends a registry request and returns the answer's header. It fails for any other
// status than the one wanted.
func (c *client) do(ctx context.Context, method, path string, want int, body []byte, header ...string) (http.Header, error) {
	if i := strings.Index(path, "/v2/"); i > 0 { // a Location
		path = path[i:]
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", c.authorization)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(answer.Body)
	if closeErr := answer.Body.Close(); err == nil {
		err = closeErr
	}
	if err == nil && answer.StatusCode != want {
		err = fmt.Errorf("%s %s: %s %s", method, path, answer.Status, content)
	}
	return answer.Header, err
}

// call is do for who needs only its error.
func (c *client) call(ctx context.Context, method, path string, want int, body []byte, header ...string) error {
	_, err := c.do(ctx, method, path, want, body, header...)
	return err
}

const (
	big     = "platform/monorepo" // 100,000 images
	nightly = "platform/nightly"  // 10,000, with a lifecycle policy
)

func (c *client) content(what string) []byte { return []byte(what + " of " + c.round) }

func (c *client) config() []byte {
	return []byte(`{"architecture":"amd64","os":"linux","author":"` + c.round + `","rootfs":{"type":"layers","diff_ids":[]}}`)
}

func (c *client) start(ctx context.Context) error {
	header, err := c.do(ctx, http.MethodPost, "/v2/"+big+"/blobs/uploads/", http.StatusAccepted, nil)
	if err == nil {
		c.location = header.Get("Location")
	}
	return err
}

func (c *client) patch(ctx context.Context) error {
	header, err := c.do(ctx, http.MethodPatch, c.location, http.StatusAccepted, c.layer, "Content-Type", "application/octet-stream")
	if err == nil {
		c.location = header.Get("Location")
	}
	return err
}

func (c *client) finish(ctx context.Context) error {
	return c.call(ctx, http.MethodPut, c.location+"?digest="+digest.FromBytes(c.layer).String(), http.StatusCreated, nil)
}

// upload is all three.
func (c *client) upload(ctx context.Context, content []byte) error {
	c.layer = content
	for _, f := range []func(context.Context) error{c.start, c.patch, c.finish} {
		if err := f(ctx); err != nil {
			return err
		}
	}
	return nil
}

func descriptor(mediaType string, content []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Size: int64(len(content)), Digest: digest.FromBytes(content)}
}

// manifest is that of the round's image; refersTo is its subject, or nil.
func (c *client) manifest(note string, refersTo *ocispec.Descriptor) ([]byte, error) {
	return json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config:  descriptor(ocispec.MediaTypeImageConfig, c.config()),
		Layers:  []ocispec.Descriptor{descriptor(ocispec.MediaTypeImageLayerGzip, c.content("layer")), descriptor(ocispec.MediaTypeImageLayerGzip, c.content("second layer"))},
		Subject: refersTo, Annotations: map[string]string{"note": note},
	})
}

func (c *client) pushManifest(ctx context.Context, note, reference string, refersTo *ocispec.Descriptor) error {
	body, err := c.manifest(note, refersTo)
	if err != nil {
		return err
	}
	if reference == "" {
		reference = digest.FromBytes(body).String()
	}
	if refersTo == nil {
		c.image = digest.FromBytes(body)
	} else {
		c.signature = digest.FromBytes(body)
	}
	return c.call(ctx, http.MethodPut, "/v2/"+big+"/manifests/"+reference, http.StatusCreated, body, "Content-Type", ocispec.MediaTypeImageManifest)
}

// subject is the round's image, for what refers to it.
func (c *client) subject() *ocispec.Descriptor {
	return &ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Size: 1000, Digest: c.image}
}

func (c *client) pushIndex(ctx context.Context) error {
	body, err := json.Marshal(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{*c.subject()},
	})
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodPut, "/v2/"+big+"/manifests/index-"+c.round, http.StatusCreated, body, "Content-Type", ocispec.MediaTypeImageIndex)
}

func (c *client) get(ctx context.Context, method, what string) error {
	return c.call(ctx, method, "/v2/"+big+"/"+what, http.StatusOK, nil, "Accept", ocispec.MediaTypeImageManifest)
}
