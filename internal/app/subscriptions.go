package app

import (
	"context"

	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/lifecycle"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// subscriptions is the table of which fact starts what.
func (a *App) subscriptions() []event.Subscriber {
	return []event.Subscriber{
		// A push, a deletion, a change of storage class: policies and referrers.
		func(ctx context.Context, tx *sqldb.Tx, e event.Event) error { return a.lifecycle.Subscribe(ctx, tx, e) },
		// A push, a deletion, an image that came back from the archive: copies elsewhere.
		func(ctx context.Context, tx *sqldb.Tx, e event.Event) error {
			return a.distribution.Replication.Subscribe(ctx, tx, e)
		},
		// A push, an image that came back from the archive or went there: scans.
		func(ctx context.Context, tx *sqldb.Tx, e event.Event) error { return a.scanning.Subscribe(ctx, tx, e) },
		// A push to a public repository, or a deletion there: the gallery.
		func(ctx context.Context, tx *sqldb.Tx, e event.Event) error {
			return a.publishing.Gallery.Subscribe(ctx, tx, e)
		},
		// What the service did by itself goes into the trail.
		a.recordServiceEvent,
	}
}

// recordServiceEvent writes the audit record of what nobody has called for. ECR's
// own sample says of a policy that ran that it is read only.
func (a *App) recordServiceEvent(ctx context.Context, tx *sqldb.Tx, e event.Event) error {
	record := audit.ServiceEvent{Time: e.OccurredAt, Region: e.Registry.Region, Account: e.Registry.Account, Details: e.Detail}
	switch e.Kind {
	case event.PolicyExecuted, event.PolicyPreviewed:
		record.EventName, record.ReadOnly = "PolicyExecutionEvent", true
		if e.Kind == event.PolicyPreviewed {
			record.EventName = "DryRunEvent"
		}
		record.Repository = e.Registry.RepositoryARN(e.Detail.(*lifecycle.Execution).RepositoryName)
	case event.StorageClassChanged:
		d := e.Detail.(event.StorageClassDetail)
		if d.Target != event.StandardClass {
			return nil // the call that archived it is recorded, and so is the policy
		}
		record.EventName, record.Repository = "ImageActivationEvent", e.Registry.RepositoryARN(d.Repository)
		record.Details = map[string]any{
			"repositoryName": d.Repository, "imageDigest": d.Digest, "targetStorageClass": d.Target, "result": "SUCCESS", "imageStatus": image.Active.String(),
		}
	case event.ImageReplicated:
		// CloudTrail has no record of these two. The names and members are made as those
		// of ImageActivationEvent, out of what EventBridge is told.
		d := e.Detail.(event.ReplicationDetail)
		record.EventName, record.Repository = "ImageReplicationEvent", e.Registry.RepositoryARN(d.Repository)
		details := map[string]any{
			"repositoryName": d.Repository, "imageDigest": d.Digest, "sourceRegistryId": d.Source.Account, "sourceRegion": d.Source.Region,
			"destinationRegistryId": d.Destination.Account, "destinationRegion": d.Destination.Region, "result": d.Result,
		}
		if d.Tag != "" {
			details["imageTag"] = d.Tag
		}
		if d.FailureCode != "" {
			details["failureCode"] = d.FailureCode
		}
		record.Details = details
	case event.ImageScanned, event.ImageScanInitial:
		d := e.Detail.(event.ScanDetail)
		record.EventName, record.Repository, record.ReadOnly = "ImageScanEvent", e.Registry.RepositoryARN(d.Repository), true
		record.Details = map[string]any{
			"repositoryName": d.Repository, "imageDigest": d.Digest, "imageTags": d.Tags, "scanStatus": d.Status, "findingSeverityCounts": d.Counts,
		}
	default: // pushes, deletions and pulls are calls; findings and settings are told elsewhere
		return nil
	}
	return a.trail.ServiceEventTx(ctx, tx, record)
}
