package lifecycle

//go:generate go run ../../../../tools/shapegen -model ../../../../models/ecr.json -package lifecycle -names=false -operations DeleteLifecyclePolicy,GetLifecyclePolicy,GetLifecyclePolicyPreview,PutLifecyclePolicy,StartLifecyclePolicyPreview -out shapes_gen.go
