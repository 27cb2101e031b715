package events

//go:generate go run ../../../tools/shapegen -model ../../../models/events.json -package events -operations PutRule,DescribeRule,ListRules,DeleteRule,EnableRule,DisableRule,PutTargets,ListTargetsByRule,RemoveTargets,TestEventPattern,ListRuleNamesByTarget,TagResource,UntagResource,ListTagsForResource,DescribeEventBus,ListEventBuses -out shapes_gen.go
