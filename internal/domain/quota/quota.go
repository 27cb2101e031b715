// Package quota holds the limits of ECR as numbers that an operator can change.
// The features enforce them; nothing is counted here.
//
// It does not own request rates, which the pipeline's throttle holds.
package quota

// Limits are the quotas of one deployment. The defaults are those of the ECR
// user guide, "Amazon ECR service quotas" (2026); where the API model admits
// more than the guide says, the larger value holds.
type Limits struct {
	// RepositoriesPerRegistry counts repositories of one account and region.
	RepositoriesPerRegistry int64
	// ImagesPerRepository counts images, tagged or not.
	ImagesPerRepository int64
	// TagsPerImage counts tags that point to one image.
	TagsPerImage int64
	// LayersPerImage bounds the layers that a manifest names. AWS publishes no
	// number; docker itself stops at 127.
	LayersPerImage int
	// ManifestBytes bounds a manifest (API model: 4,194,304 characters).
	ManifestBytes int
	// MaxLayerBytes bounds one layer: 52,000 MiB.
	MaxLayerBytes int64
	// MaxLayerParts bounds the parts of one upload through the API.
	MaxLayerParts int64
	// MinPartBytes is the least size of a part that is not the last: 5 MiB.
	MinPartBytes int64
	// MaxPartBytes is the largest part that the API model admits: 20 MiB.
	MaxPartBytes int64
	// PartSize is what InitiateLayerUpload recommends: 10 MiB.
	PartSize int64
	// ResourceTags counts the tags of one repository.
	ResourceTags int
}

const mib = 1 << 20

// Default returns ECR's own limits.
func Default() Limits {
	return Limits{
		RepositoriesPerRegistry: 100_000,
		ImagesPerRepository:     100_000,
		TagsPerImage:            1_000,
		LayersPerImage:          4_096,
		ManifestBytes:           4 * mib,
		MaxLayerBytes:           52_000 * mib,
		MaxLayerParts:           4_200,
		MinPartBytes:            5 * mib,
		MaxPartBytes:            20 * mib,
		PartSize:                10 * mib,
		ResourceTags:            50,
	}
}
