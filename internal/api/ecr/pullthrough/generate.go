package pullthrough

//go:generate go run ../../../../tools/shapegen -model ../../../../models/ecr.json -package pullthrough -names=false -operations CreatePullThroughCacheRule,DeletePullThroughCacheRule,DescribePullThroughCacheRules,UpdatePullThroughCacheRule,ValidatePullThroughCacheRule -out shapes_gen.go
