package ecrpublic

import (
	"bytes"
	"context"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
)

func (a *API) batchCheckLayerAvailability(ctx context.Context, c *aws.Call, in *BatchCheckLayerAvailabilityInput) (*BatchCheckLayerAvailabilityOutput, error) {
	r, err := a.repository(ctx, c, in.RegistryId, in.RepositoryName)
	if err != nil {
		return nil, err
	}
	var digests []name.Digest
	for _, text := range in.LayerDigests {
		if name.LooksLikeDigest(text) {
			digests = append(digests, name.Digest(text))
		}
	}
	found, err := a.Layers.Check(ctx, r, digests)
	if err != nil {
		return nil, err
	}
	out := &BatchCheckLayerAvailabilityOutput{Layers: []Layer{}, Failures: []LayerFailure{}}
	for _, text := range in.LayerDigests {
		if !name.LooksLikeDigest(text) {
			out.Failures = append(out.Failures, LayerFailure{
				LayerDigest: new(text), FailureCode: new(LayerFailureCodeInvalidLayerDigest),
				FailureReason: new("Invalid request parameters: layer digest should satisfy the regex '" + name.DigestPattern + "'"),
			})
			continue
		}
		answer := Layer{LayerDigest: new(text), LayerAvailability: new(LayerAvailabilityUnavailable)}
		// Public repositories have no archive; a layer in one could not be served.
		if l, ok := found[name.Digest(text)]; ok && !l.Archived {
			answer = Layer{LayerDigest: new(text), LayerAvailability: new(LayerAvailabilityAvailable), LayerSize: new(l.Size), MediaType: nonEmpty(l.MediaType)}
		}
		out.Layers = append(out.Layers, answer)
	}
	return out, nil
}

func (a *API) initiateLayerUpload(ctx context.Context, c *aws.Call, in *InitiateLayerUploadInput) (*InitiateLayerUploadOutput, error) {
	r, err := a.repository(ctx, c, in.RegistryId, in.RepositoryName)
	if err != nil {
		return nil, err
	}
	limits, err := a.Quotas.Limits(ctx, r.Registry.Account)
	if err != nil {
		return nil, err
	}
	u, err := a.Layers.Start(ctx, r)
	if err != nil {
		return nil, err
	}
	return &InitiateLayerUploadOutput{UploadId: new(u.ID), PartSize: new(limits.PartSize)}, nil
}

func (a *API) uploadLayerPart(ctx context.Context, c *aws.Call, in *UploadLayerPartInput) (*UploadLayerPartOutput, error) {
	r, err := a.repository(ctx, c, in.RegistryId, in.RepositoryName)
	if err != nil {
		return nil, err
	}
	if *in.PartLastByte < *in.PartFirstByte {
		return nil, errs.Parameter("partLastByte", "partLastByte must not be less than partFirstByte")
	}
	u, err := a.Layers.Append(ctx, r, *in.UploadId, layer.Chunk{First: *in.PartFirstByte, Last: *in.PartLastByte, Part: true}, bytes.NewReader(in.LayerPartBlob))
	if err != nil {
		return nil, err
	}
	return &UploadLayerPartOutput{
		RegistryId: new(string(r.Registry.Account)), RepositoryName: new(string(r.Name)),
		UploadId: in.UploadId, LastByteReceived: new(u.Received - 1),
	}, nil
}

func (a *API) completeLayerUpload(ctx context.Context, c *aws.Call, in *CompleteLayerUploadInput) (*CompleteLayerUploadOutput, error) {
	r, err := a.repository(ctx, c, in.RegistryId, in.RepositoryName)
	if err != nil {
		return nil, err
	}
	digests := make([]name.Digest, len(in.LayerDigests))
	for i, d := range in.LayerDigests {
		digests[i] = name.Digest(d)
	}
	l, err := a.Layers.Complete(ctx, r, *in.UploadId, digests, layer.Chunk{First: -1, Last: -1}, nil,
		layer.CompleteOptions{RefuseEmpty: true, RefuseExisting: true, RefuseSmallParts: true})
	if err != nil {
		return nil, err
	}
	return &CompleteLayerUploadOutput{
		RegistryId: new(string(r.Registry.Account)), RepositoryName: new(string(r.Name)),
		UploadId: in.UploadId, LayerDigest: new(string(l.Digest)),
	}, nil
}
