{{/* Everything that a service is on Kubernetes; what is switched off renders as nothing. */}}
{{- define "analytics.release" -}}
{{- $parts := list "configMap" "serviceAccount" "deployment" "service" "podDisruptionBudget" "horizontalPodAutoscaler" "scaledObject" "networkPolicy" "httpRoute" "ingress" "serviceMonitor" -}}
{{- range $part := $parts }}
{{- with include (printf "analytics.%s" $part) $ | trim }}
---
{{ . }}
{{- end }}
{{- end }}
{{- end -}}
