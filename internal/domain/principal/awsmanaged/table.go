package awsmanaged

// entry is a row of the table below; a document's file is named after the policy
// and the version.
type entry struct {
	name, path, id, description string
	// created is the policy's date; the last of versions is the default one.
	created  string
	versions []dated
}

// dated is a version with the date it was made on.
type dated struct {
	number  int64
	created string
}

// serviceRoles is the path of the policies that only service-linked roles have.
const serviceRoles = "/aws-service-role/"

// table lists the policies with AWS's own ids and dates (AWS managed policy
// reference and `aws iam list-policies`, as of August 2026). Of former versions
// it has those that the guides of ECR still show; AWS keeps more of some.
func table() []entry {
	return []entry{
		{"AmazonEC2ContainerRegistryFullAccess", "/", "ANPAIESRL7KD7IIVF6V4W",
			"Provides administrative access to Amazon ECR resources",
			"2015-12-21T17:06:48Z", []dated{{2, "2017-11-10T17:54:49Z"}, {3, "2020-12-05T00:04:19Z"}}},
		{"AmazonEC2ContainerRegistryPowerUser", "/", "ANPAJDNE5PIHROIBGGDDW",
			"Provides full access to Amazon EC2 Container Registry repositories, but does not allow repository deletion or policy changes.",
			"2015-12-21T17:05:33Z", []dated{{2, "2016-10-11T22:28:07Z"}, {3, "2019-12-10T20:48:08Z"}}},
		{"AmazonEC2ContainerRegistryReadOnly", "/", "ANPAIFYZPA37OOHVIH7KQ",
			"Provides read-only access to Amazon EC2 Container Registry repositories.",
			"2015-12-21T17:04:15Z", []dated{{2, "2016-10-11T22:08:43Z"}, {3, "2019-12-10T20:56:32Z"}}},
		{"AmazonEC2ContainerRegistryPullOnly", "/", "ANPAZKAPJZG4ACPA6HO4Q",
			"Provides access to pull images from Amazon EC2 Container Registry repositories.",
			"2024-10-04T16:58:49Z", []dated{{1, "2024-10-04T16:58:49Z"}}},
		{"AmazonElasticContainerRegistryPublicFullAccess", "/", "ANPAZKAPJZG4F2SFMTI3G",
			"Provides administrative access to Amazon ECR Public resources",
			"2020-12-01T17:25:52Z", []dated{{1, "2020-12-01T17:25:52Z"}}},
		{"AmazonElasticContainerRegistryPublicPowerUser", "/", "ANPAZKAPJZG4P6F7N3OP7",
			"Provides full access to Amazon ECR Public repositories, but does not allow repository deletion or policy changes.",
			"2020-12-01T16:16:54Z", []dated{{1, "2020-12-01T16:16:54Z"}}},
		{"AmazonElasticContainerRegistryPublicReadOnly", "/", "ANPAZKAPJZG4AD7UYLF25",
			"Provides read-only access to Amazon ECR Public repositories.",
			"2020-12-01T17:27:04Z", []dated{{1, "2020-12-01T17:27:04Z"}}},
		{"AdministratorAccess", "/", "ANPAIWMBCKSKIEE64ZLYK",
			"Provides full access to AWS services and resources.",
			"2015-02-06T18:39:46Z", []dated{{1, "2015-02-06T18:39:46Z"}}},
		{"PowerUserAccess", "/", "ANPAJYRXTHIB4FOVS3ZXS",
			"Provides full access to AWS services and resources, but does not allow management of Users and groups.",
			"2015-02-06T18:39:47Z", []dated{{12, "2026-02-12T17:59:14Z"}}},
		{"IAMFullAccess", "/", "ANPAI7XKCFMBPM3QQRRVQ",
			"Provides full access to IAM via the AWS Management Console.",
			"2015-02-06T18:40:38Z", []dated{{2, "2019-06-21T19:40:00Z"}}},
		{"IAMReadOnlyAccess", "/", "ANPAJKSO7NDY4T57MWDSQ",
			"Provides read only access to IAM via the AWS Management Console.",
			"2015-02-06T18:40:39Z", []dated{{4, "2018-01-25T19:11:27Z"}}},
		{"AmazonEC2ContainerServiceforEC2Role", "/service-role/", "ANPAJLYJCVHC7TQHCSQDS",
			"Default policy for the Amazon EC2 Role for Amazon EC2 Container Service.",
			"2015-03-19T18:45:18Z", []dated{{10, "2026-02-12T17:59:52Z"}}},
		{"AmazonEKSWorkerNodePolicy", "/", "ANPAIBVMOY52IPQ6HD3PO",
			"This policy allows Amazon EKS worker nodes to connect to Amazon EKS Clusters.",
			"2018-05-27T21:09:01Z", []dated{{3, "2023-11-27T00:06:13Z"}}},
		{"ECRReplicationServiceRolePolicy", serviceRoles, "ANPAZKAPJZG4NS3XDKIDR",
			"Enables access to AWS services and Resources used or managed by ECR Replication",
			"2020-12-04T22:11:28Z", []dated{{1, "2020-12-04T22:11:28Z"}}},
		{"AWSECRPullThroughCache_ServiceRolePolicy", serviceRoles, "ANPAZKAPJZG4G6RNU4BVN",
			"Enables access to AWS services and resources used or managed by AWS ECR pull through cache",
			"2021-11-26T21:51:09Z", []dated{{1, "2021-11-26T21:51:09Z"}, {2, "2023-11-13T15:23:16Z"}, {3, "2025-03-06T21:22:07Z"}, {4, "2026-05-12T18:12:08Z"}}},
		{"ECRTemplateServiceRolePolicy", serviceRoles, "ANPAZKAPJZG4LF7MSVTZ7",
			"Allows actions to be performed when using AWS ECR repository creation templates",
			"2024-06-19T23:11:37Z", []dated{{1, "2024-06-19T23:11:37Z"}}},
		{"AmazonInspector2ServiceRolePolicy", serviceRoles, "ANPAZKAPJZG4BINOILVQW",
			"Grants Amazon Inspector access to AWS services needed to perform security assessments",
			"2021-11-16T20:27:48Z", []dated{{27, "2026-06-16T19:27:15Z"}}},
	}
}
