package s3_test

import (
	"context"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/berth-registry/berth/internal/infra/blobstore/s3/s3test"
	"github.com/berth-registry/berth/internal/infra/trailstore/s3"
	"github.com/berth-registry/berth/internal/infra/trailstore/trailstoretest"
)

func TestStore(t *testing.T) {
	server := s3test.Start(t)
	bucket := server.Bucket(t)
	s, err := s3.Open(t.Context(), s3.Config{
		Bucket: bucket, Endpoint: server.Endpoint, Region: server.Region, PathStyle: true,
		AccessKeyID: server.AccessKey, SecretAccessKey: server.SecretKey,
	})
	if err != nil {
		t.Fatal(err)
	}
	trailstoretest.Run(t, s)

	// What other tools see: the metadata of CloudTrail's digests.
	key := "d.json.gz"
	if err := s.Put(t.Context(), key, []byte("x"), map[string]string{"signature": "00ff", "signature-algorithm": "SHA256withRSA"}); err != nil {
		t.Fatal(err)
	}
	head, err := server.Client().HeadObject(t.Context(), &sdk.HeadObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	if head.Metadata["signature"] != "00ff" || head.Metadata["signature-algorithm"] != "SHA256withRSA" {
		t.Errorf("%v", head.Metadata)
	}

	// A copy without metadata has the sidecar.
	source := bucket + "/" + key
	for _, suffix := range []string{"", ".sig"} {
		from, to := source+suffix, "copy.json.gz"+suffix
		if _, err := server.Client().CopyObject(t.Context(), &sdk.CopyObjectInput{Bucket: &bucket, Key: &to, CopySource: &from, MetadataDirective: "REPLACE"}); err != nil {
			t.Fatal(err)
		}
	}
	if o, err := s.Get(t.Context(), "copy.json.gz"); err != nil || o.Metadata["signature"] != "00ff" {
		t.Errorf("%v, %v", o, err)
	}
}

func TestPrefix(t *testing.T) {
	server := s3test.Start(t)
	bucket := server.Bucket(t)
	c := s3.Config{
		Bucket: bucket, Endpoint: server.Endpoint, Region: server.Region, PathStyle: true,
		AccessKeyID: server.AccessKey, SecretAccessKey: server.SecretKey,
	}
	whole, err := s3.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	c.Prefix = "audit/of/all/"
	below, err := s3.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := whole.Put(t.Context(), "other", []byte("x"), nil); err != nil {
		t.Fatal(err)
	}
	trailstoretest.Run(t, below)
	if o, err := whole.Get(t.Context(), "audit/of/all/b"); err != nil || string(o.Body) != "body of b" {
		t.Errorf("%q, %v", o.Body, err)
	}
}

func TestBadConfigurations(t *testing.T) {
	for _, c := range []s3.Config{{}, {Bucket: "b", Endpoint: "http://127.0.0.1:1", AccessKeyID: "a"}, {Bucket: "b", SSE: "x"}, {Bucket: "b", KMSKeyID: "k"}, {Bucket: "b", Prefix: "a//b"}} {
		if _, err := s3.Open(context.Background(), c); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}
