package lifecycle

//go:generate go run ../../../../tools/shapegen -model ../../../../models/ecr.json -package lifecycle -operations DeleteLifecyclePolicy,GetLifecyclePolicy,GetLifecyclePolicyPreview,PutLifecyclePolicy,StartLifecyclePolicyPreview -out shapes_gen.go
