// Package upload is what an unfinished object in S3 consists of: the sizes of its
// parts, the buffer that collects the next one, and the State that leads to all
// of it from another node.
//
// It sends nothing; blobstore/s3 does.
package upload
