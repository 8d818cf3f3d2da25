-- Health of BatchRun and Task for Argo CD. In the ConfigMap argocd-cm, under
-- resource.customizations.health.kubetask.io_BatchRun and resource.customizations.health.kubetask.io_Task.
-- Without it Argo CD takes a run for healthy as soon as it exists, and a sync hook for done.
local hs = { status = "Progressing", message = "waiting for the controller" }
local status = obj.status
if status == nil or status.phase == nil then
  return hs
end
if status.observedGeneration ~= obj.metadata.generation then
  return hs
end
hs.message = status.message or status.reason or ""
if status.phase == "Succeeded" then
  hs.status = "Healthy"
elseif status.phase == "Failed" then
  hs.status = "Degraded"
elseif status.reason == "Suspended" or status.reason == "TaskLimit" then
  hs.status = "Suspended"
end
return hs
