{{- define "foghorn.labels" -}}
app.kubernetes.io/name: foghorn
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "foghorn.operatorSelector" -}}
app.kubernetes.io/name: foghorn
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- /* image: {image: values of the image, chart: .Chart} */ -}}
{{- define "foghorn.image" -}}
{{- printf "%s:%s" .image.repository (.image.tag | default .chart.AppVersion) -}}
{{- end }}

{{- /* Enough for Pod Security `restricted`. */ -}}
{{- define "foghorn.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "foghorn.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* The rules between values, which a schema cannot express. The API server or the operator would refuse these too, but only after the installation. */ -}}
{{- define "foghorn.checkPlanes" -}}
{{- $classes := dict }}
{{- $leases := dict }}
{{- $defaults := list }}
{{- range $name, $plane := .Values.planes }}
{{- if not (regexMatch "^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$" $name) }}
{{- fail (printf "planes.%s: the name of a plane must be a DNS label of at most 40 characters: lower case letters, digits and hyphens" $name) }}
{{- end }}
{{- if eq $name "system" }}
{{- fail "planes.system: the name system is reserved, foghorn-system is where the operator lives" }}
{{- end }}
{{- $class := $plane.class | default (printf "foghorn.dev/%s" $name) }}
{{- with get $classes $class }}
{{- fail (printf "planes %s and %s have the same class %s: a Service must have one plane" . $name $class) }}
{{- end }}
{{- $_ := set $classes $class $name }}
{{- $lease := $plane.lease | default dict }}
{{- $leaseName := $lease.name | default (printf "foghorn-%s" $name) }}
{{- with get $leases $leaseName }}
{{- fail (printf "planes %s and %s have the same lease.name %s" . $name $leaseName) }}
{{- end }}
{{- $_ := set $leases $leaseName $name }}
{{- if $plane.default }}
{{- $defaults = append $defaults $name }}
{{- end }}
{{- $detection := $plane.failureDetection | default dict }}
{{- $mode := $detection.mode | default "Fast" }}
{{- range $figure := list "intervalMilliseconds" "missedHeartbeats" }}
{{- if and (eq $mode "Custom") (not (hasKey $detection $figure)) }}
{{- fail (printf "planes.%s.failureDetection: mode Custom needs %s" $name $figure) }}
{{- end }}
{{- if and (ne $mode "Custom") (hasKey $detection $figure) }}
{{- fail (printf "planes.%s.failureDetection: %s can be given with mode Custom only, and the mode is %s" $name $figure $mode) }}
{{- end }}
{{- end }}
{{- $host := $plane.hostAddress | default dict }}
{{- $guard := $plane.guard | default dict }}
{{- $forwarding := $plane.portForwarding | default dict }}
{{- $forwards := $forwarding.mode | default "Off" }}
{{- if and (eq ($host.mode | default "None") "Fenced") (not $host.unguarded) (eq ($guard.mode | default "Off") "Off") (eq $forwards "Off") }}
{{- fail (printf "planes.%s.hostAddress: mode Fenced needs guard.mode Drop or Reject, or unguarded: true: without a guard the node, and all that listens on all of its addresses, can be reached by the Services' addresses" $name) }}
{{- end }}
{{- if and (eq $forwards "All") (not (and (hasKey $forwarding "allowedNamespaces") (hasKey $forwarding "externalPorts"))) }}
{{- fail (printf "planes.%s.portForwarding: mode All needs allowedNamespaces and externalPorts: whoever may make a Service in these namespaces opens a port to the internet" $name) }}
{{- end }}
{{- $seconds := int (dig "lease" 3600 $forwarding) }}
{{- if and (gt $seconds 0) (lt $seconds 120) }}
{{- fail (printf "planes.%s.portForwarding.lease: %d s is too short: 0, which is without an end, or 120 to 604800 are wanted" $name $seconds) }}
{{- end }}
{{- range $range := $forwarding.externalPorts }}
{{- $ends := splitList "-" $range }}
{{- if gt (int (first $ends)) (int (last $ends)) }}
{{- fail (printf "planes.%s.portForwarding.externalPorts: %s is no range of ports, the lower one comes first, as in 8000-8999" $name $range) }}
{{- end }}
{{- end }}
{{- range dig "dhcp" "options" list $plane }}
{{- if has (int .code) (list 12 50 52 53 54 55 57 60 61 77 80 81 82) }}
{{- fail (printf "planes.%s.dhcp.options: option %d is Foghorn's own business, or has a field of its own" $name (int .code)) }}
{{- end }}
{{- end }}
{{- end }}
{{- if gt (len $defaults) 1 }}
{{- fail (printf "planes %s are all default: at most one plane can serve Services without a class" (join ", " $defaults)) }}
{{- end }}
{{- end }}
