module github.com/berth-registry/berth/bench

go 1.26.3

require github.com/aws/aws-sdk-go-v2 v1.47.6

require (
	github.com/aws/smithy-go v1.28.8 // indirect
	pgregory.net/rapid v1.3.0
)
