package replication

//go:generate go run ../../../../tools/shapegen -model ../../../../models/ecr.json -package replication -names=false -operations DescribeImageReplicationStatus,DescribeRegistry,DescribeReplicationBackfillResults,ListReplicationBackfills,PutReplicationConfiguration,StartReplicationBackfill,StopReplicationBackfill -out shapes_gen.go
