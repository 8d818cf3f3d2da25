// node_modules/preact/dist/preact.mjs
var n;
var t;
var r;
var u;
var i;
var f;
var o;
var e;
var l;
var c;
var a;
var s;
var h = /* @__PURE__ */ Symbol.for("pv");
var p = {};
var y = [];
var v = /^m(i|n|o|s|text|space)$/;
var w = Array.isArray;
var d = y.slice;
var _ = Object.assign;
function g(n2) {
  n2 && n2.parentNode && n2.remove();
}
function m(r3, u3, i3, f4, o4) {
  var e3 = { type: r3, props: u3, key: i3, ref: f4, __k: null, __: null, __b: 0, __e: null, __c: null, constructor: h, __v: o4 || ++t, __i: -1, __u: 0 };
  return !o4 && n.vnode && n.vnode(e3), e3;
}
function $(n2) {
  return n2.children;
}
function x(n2, t3) {
  this.props = n2, this.context = t3, this.__g = 0;
}
function S(n2, t3) {
  if (null == t3) return n2.__ && S(n2.__, n2.__i + 1);
  for (var r3; t3 < n2.__k.length; t3++) if ((r3 = n2.__k[t3]) && r3.__e) return r3.__e;
  return "function" != typeof n2.type || n2.props.__P ? null : S(n2);
}
function C(t3) {
  var r3, u3 = t3.__v, i3 = u3.__e, f4 = [], o4 = [], e3 = t3.__P;
  e3 && ((r3 = _({ constructor: h }, u3)).__v = u3.__v + 1, n.vnode && n.vnode(r3), z(e3, r3, u3, t3.__n, e3.namespaceURI, 32 & u3.__u ? [i3] : null, f4, i3 || S(u3), 32 & u3.__u, o4), r3.__v = u3.__v, r3.__.__k[r3.__i] = r3, E(f4, r3, o4), u3.__ = u3.__e = null, r3.__e != i3 && j(r3));
}
function j(n2) {
  if ((n2 = n2.__) && n2.__c && !n2.props.__P) return n2.__e = null, n2.__k.some(function(t3) {
    return t3 && (n2.__e = t3.__e);
  }), j(n2);
}
function L(t3) {
  (8 & t3.__g || (t3.__g |= 8, u.push(t3), f++)) && i == n.debounceRendering || ((i = n.debounceRendering) || queueMicrotask)(H);
}
function H() {
  try {
    for (var n2, t3 = 1; u.length; ) u.length > t3 && u.sort(o), n2 = u.shift(), t3 = u.length, 8 & n2.__g && C(n2);
  } finally {
    (f = u.length) && (i || queueMicrotask)(H);
  }
}
function I(n2, t3, r3, u3, i3, f4, o4, e3, l3, c3, a4) {
  var s3, h3, v3, w3, d3, _3, g3 = u3.__k || y, k2 = t3.length;
  for (l3 = q(r3, t3, g3, l3, k2), s3 = 0; s3 < k2; s3++) null != (v3 = r3.__k[s3]) && (h3 = ~v3.__i && g3[v3.__i] || p, v3.__i = s3, _3 = z(n2, v3, h3, i3, f4, o4, e3, l3, c3, a4), w3 = v3.__e, (h3.ref != v3.ref || 8 & h3.__u) && (h3.ref && G(h3.ref, null, v3, h3), v3.ref && a4.push(v3.ref, v3.__c || w3, v3)), d3 = d3 || w3, 4 & v3.__u ? (l3 = A(v3, l3, n2, !h3.__v), h3.__e && (h3.__e = null)) : "function" == typeof v3.type && void 0 !== _3 ? l3 = _3 : w3 && (l3 = w3.nextSibling), v3.__u &= -21);
  return r3.__e = d3, l3;
}
function q(n2, t3, r3, u3, i3) {
  var f4, o4, e3, l3, c3, a4, s3, p3, y4, v3 = r3.length, d3 = v3, _3 = 0, g3 = 0, k2 = n2.__k = Array(i3);
  for (f4 = 0; f4 < i3; f4++) null != (o4 = t3[f4]) && "boolean" != typeof o4 && "function" != typeof o4 ? ("object" != typeof o4 || o4.constructor === String ? o4 = k2[f4] = m(null, o4) : w(o4) ? o4 = k2[f4] = m($, { children: o4 }) : o4.constructor === h && o4.__b ? o4 = k2[f4] = m(o4.type, o4.props, o4.key, o4.ref, o4.__v) : k2[f4] = o4, l3 = f4 + _3, o4.__ = n2, o4.__b = n2.__b + 1, e3 = null, ~(c3 = o4.__i = P(o4, r3, l3, d3)) && (d3--, (e3 = r3[c3]) && (e3.__u |= 2)), e3 && e3.__v ? (o4.__u |= 16, c3 == l3 - 1 ? _3-- : c3 == l3 + 1 ? _3++ : c3 != l3 && (c3 > l3 ? _3-- : _3++, g3 = 1)) : (~c3 || (i3 > v3 ? _3-- : i3 < v3 && _3++), "function" != typeof o4.type && (o4.__u |= 4))) : k2[f4] = null;
  if (g3) {
    for (a4 = [], s3 = [], f4 = 0; f4 < i3; f4++) if ((o4 = k2[f4]) && 16 & o4.__u) {
      for (_3 = 0, p3 = a4.length; _3 < p3; ) a4[y4 = _3 + p3 >> 1] < o4.__i ? _3 = y4 + 1 : p3 = y4;
      a4[_3] = o4.__i, s3[f4] = _3 + 1;
    }
    for (_3 = a4.length; f4--; ) s3[f4] && (s3[f4] == _3 ? _3-- : k2[f4].__u |= 4);
  }
  if (d3) for (f4 = 0; f4 < v3; f4++) !(e3 = r3[f4]) || 2 & e3.__u || (e3.__e == u3 && (u3 = S(e3)), J(e3, e3));
  return u3;
}
function A(n2, t3, r3, u3) {
  var i3, f4, o4, e3;
  if ("function" == typeof n2.type) {
    if (n2.props.__P) return t3;
    if (i3 = n2.__k) for (f4 = 0; f4 < i3.length; f4++) i3[f4] && (i3[f4].__ = n2, t3 = A(i3[f4], t3, r3, false));
    return t3;
  }
  for (t3 && !t3.parentNode && (t3 = S(n2)) && !t3.parentNode && (t3 = null), o4 = n2.__e, e3 = t3; e3 && 8 == e3.nodeType; ) e3 = e3.nextSibling;
  for (o4 != e3 && (!u3 && r3.moveBefore && o4.parentNode ? r3.moveBefore(o4, t3) : r3.insertBefore(o4, t3 || null)), t3 = o4; (t3 = t3 && t3.nextSibling) && 8 == t3.nodeType && !t3.data.startsWith("$s"); ) ;
  return t3;
}
function P(n2, t3, r3, u3) {
  var i3, f4 = n2.key, o4 = n2.type, e3 = t3[r3], l3 = e3 && !(2 & e3.__u);
  if (null === e3 && null == f4 || l3 && f4 == e3.key && o4 == e3.type) return r3;
  if (u3 > (l3 ? 1 : 0)) {
    for (i3 = r3 - 1; i3 >= 0; i3--) if ((e3 = t3[i3]) && !(2 & e3.__u) && f4 == e3.key && o4 == e3.type) return i3;
    for (i3 = r3 + 1; i3 < t3.length; i3++) if ((e3 = t3[i3]) && !(2 & e3.__u) && f4 == e3.key && o4 == e3.type) return i3;
  }
  return -1;
}
function T(n2, t3, r3) {
  null == r3 && (r3 = ""), "-" == t3[0] ? n2.setProperty(t3, r3) : n2[t3] = r3;
}
function N(n2, t3, r3, u3, i3) {
  var f4, o4;
  if ("style" == t3) if ("string" == typeof r3) n2.style.cssText = r3;
  else {
    if ("string" == typeof u3 && (n2.style.cssText = u3 = ""), u3) for (t3 in u3) r3 && t3 in r3 || T(n2.style, t3);
    if (r3) for (t3 in r3) u3 && r3[t3] == u3[t3] || T(n2.style, t3, r3[t3]);
  }
  else if ("o" == t3[0] && "n" == t3[1]) "function" != typeof r3 && (r3 = null), "function" != typeof u3 && (u3 = null), (n2.__e || (n2.__e = {}))[t3] = r3, r3 && u3 || (o4 = a[t3] || (a[t3] = V(t3)), (n2.__a || (n2.__a = {}))[t3] = c, f4 = t3 != (t3 = t3.replace(l, "$1")), (t3 = t3.slice(2))[0] < "a" && (t3 = t3.toLowerCase()), r3 ? n2.addEventListener(t3, o4, f4) : n2.removeEventListener(t3, o4, f4));
  else {
    if ("http://www.w3.org/2000/svg" == i3) t3 = t3.replace(/xlink(H|:h)/, "h").replace(/sName$/, "s");
    else if ("width" != t3 && "height" != t3 && "href" != t3 && "list" != t3 && "form" != t3 && "tabIndex" != t3 && "download" != t3 && "rowSpan" != t3 && "colSpan" != t3 && "role" != t3 && "popover" != t3 && t3 in n2) try {
      return void (n2[t3] = null == r3 ? "" : r3);
    } catch (n3) {
    }
    if ("function" == typeof r3) return;
    null == r3 || false === r3 && "-" != t3[4] ? n2.removeAttribute(t3) : n2.setAttribute(t3, "popover" == t3 && 1 == r3 ? "" : r3);
  }
}
function V(t3) {
  return function(r3) {
    var u3 = this.__e;
    if (u3) {
      if (u3 = u3[t3], null == r3[e]) r3[e] = c++;
      else if (r3[e] < this.__a[t3]) return;
      return u3(n.event ? n.event(r3) : r3);
    }
  };
}
function z(t3, r3, u3, i3, f4, o4, e3, l3, c3, a4) {
  var s3, p3, v3, d3, k2, b2, m3, M, C3, j2, L2, H3, q2, A3, O, P2, T3, N2, V2 = r3.type;
  if (r3.constructor !== h) return null;
  128 & u3.__u && (c3 = 32 & u3.__u, s3 = u3.__c.__z) && (r3.__u |= c3, p3 = o4 = [], 8 == s3.nodeType ? l3 = B(s3, o4) : o4.push(s3), l3 = o4[0] || l3), (s3 = n.__b) && s3(r3);
  n: if ("function" == typeof V2) {
    v3 = e3.length;
    try {
      if (M = r3.props, C3 = (s3 = V2.prototype) && s3.render, j2 = (s3 = V2.contextType) && i3[s3.__c], L2 = s3 ? j2 ? j2.props.value : s3.__ : i3, (d3 = u3.__c) ? (r3.__c = d3, 2 & d3.__g && (d3.__g |= 1)) : (C3 ? r3.__c = d3 = new V2(M, L2) : (r3.__c = d3 = new x(M, L2), d3.constructor = V2, d3.render = K), j2 && j2.sub(d3), d3.state || (d3.state = {}), d3.__n = i3, d3.__g |= 8, d3.__h = [], d3.__k = []), C3 && (d3.__s || (d3.__s = d3.state), V2.getDerivedStateFromProps && (d3.__s == d3.state && (d3.__s = _({}, d3.__s)), _(d3.__s, V2.getDerivedStateFromProps(M, d3.__s)))), k2 = d3.props, b2 = d3.state, d3.__v = r3, u3.__c) {
        if (M !== k2 && C3 && !V2.getDerivedStateFromProps && d3.componentWillReceiveProps && d3.componentWillReceiveProps(M, L2), r3.__v == u3.__v && !(8 & d3.__g) || !(4 & d3.__g) && d3.shouldComponentUpdate && false === d3.shouldComponentUpdate(M, d3.__s, L2)) {
          r3.__v != u3.__v && (d3.props = M, d3.state = d3.__s, d3.__g &= -9), r3.__e = u3.__e, r3.__k = u3.__k, r3.__k.some(function(n2) {
            n2 && (n2.__ = r3);
          }), y.push.apply(d3.__h, d3.__k), d3.__k = [], d3.__h.length && e3.push(d3), l3 = S(u3);
          break n;
        }
        d3.componentWillUpdate && d3.componentWillUpdate(M, d3.__s, L2), C3 && d3.componentDidUpdate && d3.__h.push(function() {
          d3.componentDidUpdate(k2, b2, m3);
        });
      } else C3 && !V2.getDerivedStateFromProps && d3.componentWillMount && d3.componentWillMount(), C3 && d3.componentDidMount && d3.__h.push(d3.componentDidMount);
      d3.context = L2, d3.props = M, d3.__P = t3, d3.__g &= -5, H3 = n.__r, q2 = C3 ? 25 : 0;
      do {
        d3.__g &= -9, H3 && H3(r3), s3 = d3.render(d3.props, d3.state = d3.__s, d3.context);
      } while (8 & d3.__g && ++q2 < 25);
      C3 && (y.push.apply(d3.__h, d3.__k), d3.__k = []), d3.state = d3.__s, d3.getChildContext && (i3 = _({}, i3, d3.getChildContext())), C3 && u3.__c && d3.getSnapshotBeforeUpdate && (m3 = d3.getSnapshotBeforeUpdate(k2, b2)), A3 = s3 && s3.type === $ && null == s3.key ? s3.props.children : s3, M.__P && (s3 = l3, f4 = (t3 = M.__P).namespaceURI, c3 = o4 = null, u3.props && u3.props.__P != t3 && (u3.__k.some(function(n2) {
        n2 && J(n2, n2);
      }), u3.__k = null), l3 = u3.__k ? S(u3, 0) : null), l3 = I(t3, w(A3) ? A3 : [A3], r3, u3, i3, f4, o4, e3, l3, c3, a4), M.__P && (r3.__e = null, l3 = s3), r3.__u &= -161, p3 && p3.some(g), d3.__h.length && e3.push(d3), 1 & d3.__g && (d3.__g &= -4);
    } catch (t4) {
      if (e3.length = v3, r3.__v = null, c3 || o4) if (t4 && t4.then) {
        if (r3.__u |= 128 | c3, o4) {
          for (~(T3 = o4.indexOf(l3 || void 0)) || (T3 = o4.length); (N2 = o4[T3 - 1]) && 8 == N2.nodeType; ) T3--;
          for (; T3 < o4.length; T3++) if (N2 = o4[T3]) if (o4[T3] = null, O) {
            if (N2 == P2) break;
          } else {
            if (8 != N2.nodeType) break;
            N2.data.startsWith("$s") && (P2 = B(O = N2));
          }
        }
        if (!O) {
          for (; l3 && 8 == l3.nodeType && l3.nextSibling; ) l3 = l3.nextSibling;
          O = l3;
        }
        (s3 = B(O = r3.__c.__z || (r3.__c.__z = O))) ? (r3.__e = O, l3 = s3) : r3.__e = l3, l3 = l3 && l3.nextSibling;
      } else o4 && o4.some(g);
      else r3.__e = u3.__e;
      r3.__k || (r3.__k = u3.__k || []), t4 && t4.then || D(r3), n.__e(t4, r3, u3);
    }
  } else l3 = r3.__e = F(u3.__e, r3, u3, i3, f4, o4, e3, c3, a4, t3);
  return (s3 = n.diffed) && s3(r3), l3;
}
function B(n2, t3) {
  if (n2 && 8 == n2.nodeType && n2.data.startsWith("$s")) for (var r3 = 1; n2 = n2.nextSibling; ) {
    if (8 == n2.nodeType) {
      if (n2.data.startsWith("$s")) r3++;
      else if (n2.data.startsWith("/$s") && !--r3) return n2;
    }
    t3 && t3.push(n2);
  }
}
function D(n2) {
  n2 && (n2.__c && (n2.__c.__g |= 4), n2.__k && n2.__k.some(D));
}
function E(t3, r3, u3) {
  for (var i3 = 0; i3 < u3.length; ) G(u3[i3++], u3[i3++], u3[i3++]);
  n.__c && n.__c(r3, t3), t3.some(function(r4) {
    try {
      t3 = r4.__h, r4.__h = [], t3.some(function(n2) {
        n2.call(r4);
      });
    } catch (t4) {
      n.__e(t4, r4.__v);
    }
  });
}
function F(t3, r3, u3, i3, f4, o4, e3, l3, c3, a4) {
  var s3, h3, y4, _3, k2, b2, m3, M, $2 = u3.props || p, x3 = r3.props, C3 = r3.type;
  if ("svg" == C3 ? f4 = "http://www.w3.org/2000/svg" : "math" == C3 ? f4 = "http://www.w3.org/1998/Math/MathML" : f4 || (f4 = "http://www.w3.org/1999/xhtml"), o4) {
    for (s3 = 0; s3 < o4.length; s3++) if ((k2 = o4[s3]) && (C3 ? k2.localName == C3 : 3 == k2.nodeType)) {
      t3 = k2, o4[s3] = null;
      break;
    }
  }
  if (!t3) {
    if (M = a4.ownerDocument || document, !C3) return M.createTextNode(x3);
    t3 = M.createElementNS(f4, C3, x3.is ? x3 : a4), l3 && (n.__m && n.__m(r3, o4), l3 = false), o4 = null;
  }
  if (C3) {
    if (a4 = "template" == C3 && t3.content || t3, o4 = "textarea" == C3 && null != x3.defaultValue ? null : o4 && d.call(a4.childNodes), !l3 && o4) for ($2 = {}, s3 = 0; s3 < t3.attributes.length; s3++) $2[(k2 = t3.attributes[s3]).name] = k2.value;
    for (s3 in $2) k2 = $2[s3], "dangerouslySetInnerHTML" == s3 ? y4 = k2 : "children" == s3 || s3 in x3 || "value" == s3 && "defaultValue" in x3 || "checked" == s3 && "defaultChecked" in x3 || N(t3, s3, null, k2, f4);
    for (s3 in x3) k2 = x3[s3], "children" == s3 ? _3 = k2 : "dangerouslySetInnerHTML" == s3 ? h3 = k2 : "value" == s3 ? b2 = k2 : "checked" == s3 ? m3 = k2 : l3 && "function" != typeof k2 || $2[s3] === k2 || N(t3, s3, k2, $2[s3], f4);
    h3 ? (l3 || y4 && (h3.__html == y4.__html || h3.__html == t3.innerHTML) || (t3.innerHTML = h3.__html), r3.__k = []) : (y4 && (t3.textContent = ""), ("foreignObject" == C3 || "http://www.w3.org/1998/Math/MathML" == f4 && v.test(C3)) && (f4 = "http://www.w3.org/1999/xhtml"), I(a4, w(_3) ? _3 : [_3], r3, u3, i3, f4, o4, e3, o4 ? o4[0] : u3.__k && S(u3, 0), l3, c3), o4 && o4.some(g)), l3 && "textarea" != C3 || (s3 = "value", "progress" == C3 && null == b2 ? t3.removeAttribute(s3) : null == b2 || b2 === t3[s3] && ("progress" != C3 || b2) || N(t3, s3, b2, $2[s3], f4), s3 = "checked", null != m3 && m3 != t3[s3] && N(t3, s3, m3, $2[s3], f4));
  } else $2 === x3 || l3 && t3.data == x3 || (t3.data = x3);
  return t3;
}
function G(t3, r3, u3, i3) {
  try {
    "function" == typeof t3 ? r3 ? r3.__x = t3(r3) || 1 : i3 && (i3 = i3.__c || i3.__e) && (r3 = i3.__x) && (i3.__x = null, "function" == typeof r3 ? r3() : t3(null)) : t3.current = r3;
  } catch (t4) {
    n.__e(t4, u3);
  }
}
function J(t3, r3, u3) {
  var i3, f4, o4, e3;
  if (n.unmount && n.unmount(t3), !(i3 = t3.ref) || i3.current && i3.current != t3.__e || G(i3, null, r3, t3), i3 = t3.__c) {
    if (i3.componentWillUnmount) try {
      i3.componentWillUnmount();
    } catch (t4) {
      n.__e(t4, r3);
    }
    i3.__P = i3.__n = null;
  }
  if (i3 = t3.__k) for (e3 = 0; e3 < i3.length; e3++) i3[e3] && J(i3[e3], r3, "function" != typeof t3.type || u3 && !t3.props.__P);
  !u3 && (i3 = t3.__c) && (i3 = i3.__z) && (f4 = B(i3, o4 = [])) && (i3 == t3.__e && o4.some(g), g(f4), g(i3)), u3 || g(t3.__e), t3.__e = t3.__c = t3.__ = null;
}
function K(n2, t3, r3) {
  return this.constructor(n2, r3);
}
function Q(t3, r3) {
  var u3, i3, f4, o4;
  n.__ && n.__(t3, r3), 9 == r3.nodeType && (r3 = r3.documentElement), i3 = (u3 = t3 && 32 & t3.__u) ? null : r3.__k, r3.__k = m($, { children: [t3] }), f4 = [], o4 = [], z(r3, r3.__k, i3 || p, p, r3.namespaceURI, i3 ? null : r3.firstChild ? d.call(r3.childNodes) : null, f4, i3 ? i3.__e : r3.firstChild, u3, o4), E(f4, r3.__k, o4), r3.__k.props.children = null;
}
n = { __e: function(n2, t3, r3, u3) {
  for (var i3, o4, e3; t3 = t3.__; ) if ((i3 = t3.__c) && !(1 & i3.__g)) {
    i3.__g |= 4;
    try {
      if ((e3 = (o4 = i3.constructor) && o4.getDerivedStateFromError) && i3.setState(o4.getDerivedStateFromError(n2)), i3.componentDidCatch && (i3.componentDidCatch(n2, u3 || {}), e3 = 1), e3 && 8 & i3.__g) return void (i3.__g |= 2);
    } catch (t4) {
      n2 = t4;
    }
  }
  throw f = 0, n2;
} }, t = 0, r = function(n2) {
  return null != n2 && n2.constructor === h;
}, x.prototype.setState = function(n2, t3) {
  var r3 = this.__s;
  r3 && r3 != this.state || (r3 = this.__s = _({}, this.state)), "function" == typeof n2 && (n2 = n2(_({}, r3), this.props)), n2 && (_(r3, n2), this.__v && (t3 && this.__k.push(t3), L(this)));
}, x.prototype.forceUpdate = function(n2) {
  this.__v && (this.__g |= 4, n2 && this.__h.push(n2), L(this));
}, x.prototype.render = $, u = [], f = 0, o = function(n2, t3) {
  return n2.__v.__b - t3.__v.__b;
}, e = /* @__PURE__ */ Symbol(), l = /(PointerCapture)$|Capture$/i, c = 0, a = {}, s = 0;

// node_modules/preact/hooks/dist/hooks.mjs
var t2;
var r2;
var u2;
var i2;
var o2 = Object.is;
var f2 = 0;
var c2 = [];
var e2 = [];
var a2 = n;
var v2 = a2.__b;
var l2 = a2.__r;
var m2 = a2.diffed;
var h2 = a2.__c;
var s2 = a2.unmount;
var p2 = a2.__;
function y2(n2, t3) {
  a2.__h && a2.__h(r2, n2, f2 || t3), f2 = 0;
  var u3 = r2.__H || (r2.__H = { __: [], __h: [] });
  return n2 >= u3.__.length && u3.__.push({}), u3.__[n2];
}
function d2(n2) {
  return f2 = 1, _2(G2, n2);
}
function _2(n2, u3, i3) {
  var f4 = y2(t2++, 2);
  if (f4.t = n2, !f4.__c && (f4.__ = [i3 ? i3(u3) : G2(void 0, u3), function(n3) {
    var t3 = (f4.__N || f4.__)[0], r3 = f4.t(t3, n3);
    o2(t3, r3) || (f4.__N = [r3, f4.__[1]], f4.__c.setState({}));
  }], f4.__c = r2, !r2.__f)) {
    r2.__f = true;
    var c3 = r2.shouldComponentUpdate;
    r2.shouldComponentUpdate = function(n3, t3, r3) {
      var u4 = this.__H;
      if (!u4) return true;
      var i4 = false, f5 = this.props != n3;
      if (u4.__.some(function(n4) {
        n4.__N && (i4 = true, o2(n4.__[0], n4.__N[0]) || (f5 = true));
      }), c3) {
        var e3 = c3.call(this, n3, t3, r3);
        return i4 ? e3 || f5 : e3;
      }
      return !i4 || f5;
    };
  }
  return f4.__;
}
function A2(n2, u3) {
  var i3 = y2(t2++, 3);
  !a2.__s && E2(i3.__H, u3) && (i3.__P = true, i3.__ = n2, i3.u = u3, r2.__H.__h.push(i3));
}
function F2(n2, u3) {
  var i3 = y2(t2++, 4);
  !a2.__s && E2(i3.__H, u3) && (i3.__P = false, i3.__ = n2, i3.u = u3, r2.__h.push(i3));
}
function T2(n2) {
  return f2 = 5, w2(function() {
    return { current: n2 };
  }, []);
}
function w2(n2, r3) {
  var u3 = y2(t2++, 7);
  return E2(u3.__H, r3) && (u3.__ = n2(), u3.__H = r3), u3.__;
}
function b(n2, t3) {
  return f2 = 8, w2(function() {
    return n2;
  }, t3);
}
function g2() {
  var n2;
  do {
    for (; n2 = e2.shift(); ) try {
      C2(n2);
    } catch (t4) {
      a2.__e(t4, { __: (n2 = n2.__P) && n2.__v });
    }
    for (; n2 = c2.shift(); ) {
      var t3 = n2.__H;
      if (n2.__P && t3) try {
        t3.__h.some(C2), t3.__h.some(D2), t3.__h = [];
      } catch (r3) {
        t3.__h = [], a2.__e(r3, n2.__v);
      }
    }
  } while (e2.length);
}
a2.__b = function(n2) {
  r2 = null, v2 && v2(n2);
}, a2.__ = function(n2, t3) {
  n2 && t3.__k && t3.__k.__m && (n2.__m = t3.__k.__m), p2 && p2(n2, t3);
}, a2.__r = function(n2) {
  l2 && l2(n2), t2 = 0;
  var i3 = (r2 = n2.__c).__H;
  i3 && (u2 == r2 ? r2.__h = [] : (i3.__h.some(C2), i3.__h.some(D2), t2 = 0), i3.__h = [], i3.__.some(function(n3) {
    n3.__N && (n3.__ = n3.__N), n3.u = n3.__N = void 0;
  })), u2 = r2;
}, a2.diffed = function(n2) {
  m2 && m2(n2);
  var t3 = n2.__c;
  t3 && t3.__H && (t3.__H.__h.length && B2(c2.push(t3)), t3.__H.__.some(function(n3) {
    n3.u && (n3.__H = n3.u);
  })), u2 = r2 = null;
}, a2.__c = function(n2, t3) {
  t3.some(function(n3) {
    try {
      n3.__h.some(C2), n3.__h = n3.__h.filter(function(n4) {
        return !n4.__ || D2(n4);
      });
    } catch (t4) {
      n3.__h = [function() {
        throw t4;
      }];
    }
  }), h2 && h2(n2, t3);
}, a2.unmount = function(n2) {
  s2 && s2(n2);
  var t3, r3, u3 = n2.__c;
  u3 && u3.__H && (u3.__H.__.some(function(u4) {
    try {
      if (u4.__P && u4.__c) {
        if (void 0 === r3) {
          for (r3 = n2.__; r3 && (!r3.__c || !r3.__c.__P); ) r3 = r3.__;
          r3 = r3 && r3.__c;
        }
        u4.__P = r3, B2(e2.push(u4));
      } else C2(u4);
    } catch (n3) {
      t3 = n3;
    }
  }), u3.__H = void 0, t3 && a2.__e(t3, u3.__v));
};
var k = "function" == typeof requestAnimationFrame;
function z2(n2) {
  var t3, r3 = function() {
    clearTimeout(u3), k && cancelAnimationFrame(t3), setTimeout(n2);
  }, u3 = setTimeout(r3, 35);
  k && (t3 = requestAnimationFrame(r3));
}
function B2(n2) {
  1 != n2 && i2 == a2.requestAnimationFrame || ((i2 = a2.requestAnimationFrame) || z2)(g2);
}
function C2(n2) {
  var t3 = r2, u3 = n2.__c;
  "function" == typeof u3 && (n2.__c = void 0, u3()), r2 = t3;
}
function D2(n2) {
  var t3 = r2;
  n2.__c = n2.__(), r2 = t3;
}
function E2(n2, t3) {
  return !n2 || n2.length != t3.length || t3.some(function(t4, r3) {
    return !o2(t4, n2[r3]);
  });
}
function G2(n2, t3) {
  return "function" == typeof t3 ? t3(n2) : t3;
}

// src/api.ts
var KEY = "kubetask-token";
var SILENT_MS = 4e4;
var RETRY_MS = [250, 500, 1e3, 2e3, 4e3];
async function signIn() {
  const given = new URLSearchParams(location.hash.slice(1));
  const token = given.get("token");
  const code = given.get("code");
  if (!token && !code) return;
  history.replaceState(null, "", "#/");
  if (token) {
    sessionStorage.setItem(KEY, token);
  } else {
    const answer = await request("/api/session", { code });
    sessionStorage.setItem(KEY, answer.token);
  }
}
var Problem = class extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
  status;
};
function headers() {
  const token = sessionStorage.getItem(KEY);
  return token ? { Authorization: `Bearer ${token}` } : {};
}
async function problem(answer) {
  const text = await answer.text();
  try {
    return new Problem(JSON.parse(text).error ?? text, answer.status);
  } catch {
    return new Problem(text, answer.status);
  }
}
async function request(path, body) {
  const options = body === void 0 ? { headers: headers() } : {
    method: "POST",
    headers: { ...headers(), "Content-Type": "application/json" },
    body: JSON.stringify(body)
  };
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Problem("kubectl kubetask ui does not respond. Check that it is still running.", 0);
  }
  if (!answer.ok) throw await problem(answer);
  return await answer.json();
}
function query(place, more = {}) {
  const all = Object.entries({ ...place, ...more }).map(([key, value]) => [key, String(value)]);
  return new URLSearchParams(all).toString();
}
function follow(path, listener) {
  const stopped = new AbortController();
  void (async () => {
    for (let failures = 0; !stopped.signal.aborted; ) {
      const attempt = new AbortController();
      const stop = () => attempt.abort();
      stopped.signal.addEventListener("abort", stop);
      let timer = setTimeout(stop, SILENT_MS);
      try {
        const answer = await fetch(path, { headers: headers(), signal: attempt.signal });
        if (!answer.ok) throw await problem(answer);
        for await (const line of lines(answer)) {
          clearTimeout(timer);
          timer = setTimeout(stop, SILENT_MS);
          const message = JSON.parse(line);
          if (failures || message.whole) listener.link(null);
          failures = 0;
          listener.message(message);
          if (message.type === "end") return;
          if (message.type === "error") throw new Problem(message.message ?? "", 502);
        }
        throw new Problem("The connection to kubectl kubetask ui was closed.", 0);
      } catch (error) {
        if (stopped.signal.aborted) return;
        const known = error instanceof Problem;
        listener.link(known ? error.message : "kubectl kubetask ui does not respond. Check that it is still running.");
        if (known && (error.status === 401 || error.status === 403)) return;
      } finally {
        clearTimeout(timer);
        stopped.signal.removeEventListener("abort", stop);
      }
      await pause(RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)], stopped.signal);
    }
  })();
  return () => stopped.abort();
}
function pause(ms2, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms2);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    }, { once: true });
  });
}
async function* lines(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = [];
  for (; ; ) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = value.split("\n");
    rest.push(parts[0]);
    for (let i3 = 1; i3 < parts.length; i3++) {
      const line = rest.join("");
      if (line) yield line;
      rest = [parts[i3]];
    }
  }
}

// src/format.ts
function ms(time) {
  if (!time) return null;
  const at = Date.parse(time);
  return Number.isNaN(at) ? null : at;
}
function duration(milliseconds) {
  if (milliseconds === null) return "";
  const s3 = Math.max(Math.floor(milliseconds / 1e3), 0);
  if (s3 < 60) return `${s3}s`;
  if (s3 < 3600) return `${Math.floor(s3 / 60)}m${s3 % 60}s`;
  if (s3 < 86400) return `${Math.floor(s3 / 3600)}h${Math.floor(s3 / 60) % 60}m`;
  return `${Math.floor(s3 / 86400)}d${Math.floor(s3 / 3600) % 24}h`;
}
function took(start2, end, now) {
  const from = ms(start2);
  return from === null ? "" : duration((ms(end) ?? now) - from);
}
function ago(time, now) {
  const at = ms(time);
  return at === null ? "" : `${duration(now - at)} ago`;
}
function dollars(amount) {
  if (amount === null || amount === void 0) return "";
  return amount > 0 && amount < 0.01 ? `$${amount.toFixed(4)}` : `$${amount.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;
}
var compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
function tokens(count) {
  return count ? compact.format(count) : "";
}
function number(count) {
  return count.toLocaleString("en");
}
function clock(at, span) {
  const long = span > 864e5;
  return new Date(at).toLocaleString(void 0, long ? { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" } : { hour: "2-digit", minute: "2-digit", second: span < 6e5 ? "2-digit" : void 0 });
}
function exact(time) {
  const at = ms(time);
  return at === null ? "" : new Date(at).toLocaleString();
}
function parseIndexes(text) {
  const found = /* @__PURE__ */ new Set();
  for (const part of text.split(",")) {
    const [low, high] = part.split("-").map(Number);
    if (part && low !== void 0) for (let i3 = low; i3 <= (high ?? low); i3++) found.add(i3);
  }
  return found;
}
function formatIndexes(indexes) {
  const ranges = [];
  for (const index of [...indexes].sort((a4, b2) => a4 - b2)) {
    const last = ranges.at(-1);
    if (last && index === last[1] + 1) last[1] = index;
    else ranges.push([index, index]);
  }
  return ranges.map(([low, high]) => low === high ? `${low}` : `${low}-${high}`).join(",");
}

// node_modules/preact/jsx-runtime/dist/jsxRuntime.mjs
var f3 = /* @__PURE__ */ Symbol.for("pv");
var o3 = 0;
function a3(t3, e3, n2, u3, a4, i3) {
  e3 || (e3 = {});
  var c3, l3, p3 = e3;
  if ("ref" in p3 && "function" != typeof t3) for (l3 in p3 = {}, e3) "ref" == l3 ? c3 = e3[l3] : p3[l3] = e3[l3];
  var s3 = { type: t3, props: p3, key: n2, ref: c3, __k: null, __: null, __b: 0, __e: null, __c: null, constructor: f3, __v: --o3, __i: -1, __u: 0 };
  return (a4 || i3) && (s3.__source = a4, s3.__self = i3), n.vnode && n.vnode(s3), s3;
}

// src/parts.tsx
var SIGNS = { Pending: "○", Running: "◐", Started: "◐", Succeeded: "✓", Failed: "✕" };
function State({ phase, children }) {
  return /* @__PURE__ */ a3("span", { class: `state ${phase || "None"}`, children: [
    /* @__PURE__ */ a3("span", { class: "sign", "aria-hidden": "true", children: SIGNS[phase] ?? "?" }),
    children ?? (phase || "New")
  ] });
}
var PARTS = [
  ["completed", "Succeeded", "succeeded"],
  ["failed", "Failed", "failed"],
  ["running", "Running", "running"],
  ["pending", "Pending", "waiting"]
];
function Progress({ counts }) {
  const label = PARTS.filter(([key]) => counts[key]).map(([key, , word]) => `${number(counts[key])} ${word}`).join(", ");
  return /* @__PURE__ */ a3("span", { class: "progress", role: "img", "aria-label": label || "no tasks yet", title: label, children: PARTS.map(([key, phase]) => counts[key] > 0 && /* @__PURE__ */ a3("span", { class: `bar ${phase}`, style: { flexGrow: counts[key] } }, key)) });
}
function Command({ text }) {
  const [copied, setCopied] = d2(false);
  const copy = () => void navigator.clipboard.writeText(text).then(() => {
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  });
  return /* @__PURE__ */ a3("span", { class: "command", children: [
    /* @__PURE__ */ a3("code", { children: text }),
    /* @__PURE__ */ a3("button", { type: "button", class: "quiet", onClick: copy, "aria-label": `Copy ${text}`, children: copied ? "Copied" : "Copy" })
  ] });
}
function useNow(every = 1e3) {
  const [now, setNow] = d2(Date.now());
  A2(() => {
    const timer = setInterval(() => setNow(Date.now()), every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}
function useNarrow() {
  const [narrow, setNarrow] = d2(() => matchMedia("(max-width: 820px)").matches);
  A2(() => {
    const media = matchMedia("(max-width: 820px)");
    const change = () => setNarrow(media.matches);
    media.addEventListener("change", change);
    return () => media.removeEventListener("change", change);
  }, []);
  return narrow;
}
function Chips({ label, values, chosen, toggle }) {
  return /* @__PURE__ */ a3("div", { class: "chips", role: "group", "aria-label": label, children: values.map(([value, text, count]) => /* @__PURE__ */ a3("button", { type: "button", "aria-pressed": chosen.has(value), onClick: () => toggle(value), children: [
    text,
    " ",
    /* @__PURE__ */ a3("span", { class: "count", children: number(count) })
  ] }, value)) });
}
function toggled(set, value) {
  const next = new Set(set);
  if (!next.delete(value)) next.add(value);
  return next;
}

// src/table.tsx
var OVERSCAN = 8;
function sorted(items, columns, sort) {
  const by = columns.find((x3) => x3.key === sort.key)?.by;
  if (!by) return items;
  const sign = sort.down ? -1 : 1;
  const keys = new Map(items.map((x3) => [x3, by(x3)]));
  return [...items].sort((a4, b2) => {
    const [left, right] = [keys.get(a4) ?? null, keys.get(b2) ?? null];
    if (left === right) return 0;
    if (left === null || left === "") return 1;
    if (right === null || right === "") return -1;
    return left < right ? -sign : sign;
  });
}
function SortBy({ columns, sort, setSort }) {
  return /* @__PURE__ */ a3("span", { class: "sort-by", children: [
    /* @__PURE__ */ a3("select", { "aria-label": "Sort by", value: sort.key, onChange: (e3) => setSort({ ...sort, key: e3.currentTarget.value }), children: columns.filter((x3) => x3.by).map((x3) => /* @__PURE__ */ a3("option", { value: x3.key, children: [
      "Sort by ",
      x3.title.toLowerCase()
    ] }, x3.key)) }),
    /* @__PURE__ */ a3("button", { type: "button", "aria-label": sort.down ? "Descending" : "Ascending", onClick: () => setSort({ ...sort, down: !sort.down }), children: sort.down ? "↓" : "↑" })
  ] });
}
function Table({ label, items, columns, id, sort, setSort, open, select, rowHeight, empty, current }) {
  const box = T2(null);
  const [view, setView] = d2({ top: 0, height: 600 });
  const [active, setActive] = d2(0);
  F2(() => {
    const element = box.current;
    const measure = () => setView({ top: element.scrollTop, height: element.clientHeight });
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    element.addEventListener("scroll", measure, { passive: true });
    return () => {
      observer.disconnect();
      element.removeEventListener("scroll", measure);
    };
  }, []);
  A2(() => {
    if (active >= items.length) setActive(Math.max(items.length - 1, 0));
  }, [items.length]);
  const first = Math.max(Math.floor(view.top / rowHeight) - OVERSCAN, 0);
  const last = Math.min(Math.ceil((view.top + view.height) / rowHeight) + OVERSCAN, items.length);
  const template = (select ? "2.2rem " : "") + columns.map((x3) => x3.width).join(" ");
  const prefix = label.replace(/\W/g, "");
  const move = (to) => {
    const next = Math.min(Math.max(to, 0), items.length - 1);
    setActive(next);
    const element = box.current;
    const head = element.firstElementChild.offsetHeight;
    const top = next * rowHeight;
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top + rowHeight + head > element.scrollTop + element.clientHeight) element.scrollTop = top + rowHeight + head - element.clientHeight;
  };
  const page = Math.max(Math.floor(view.height / rowHeight) - 2, 1);
  const keys = {
    ArrowDown: () => move(active + 1),
    ArrowUp: () => move(active - 1),
    PageDown: () => move(active + page),
    PageUp: () => move(active - page),
    Home: () => move(0),
    End: () => move(items.length - 1),
    Enter: () => items[active] && open(items[active]),
    " ": () => items[active] && select?.toggle(items[active])
  };
  const onKeyDown = (event) => {
    if (event.target !== box.current) return;
    const key = keys[event.key];
    if (key && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      key();
    }
  };
  return /* @__PURE__ */ a3(
    "div",
    {
      class: "table",
      ref: box,
      role: "grid",
      tabIndex: 0,
      "aria-label": label,
      "aria-rowcount": items.length + 1,
      onKeyDown,
      "aria-activedescendant": items[active] ? `${prefix}-${active}` : void 0,
      "aria-multiselectable": !!select,
      children: [
        /* @__PURE__ */ a3("div", { class: "head", role: "row", "aria-rowindex": 1, style: { gridTemplateColumns: template }, children: [
          select && /* @__PURE__ */ a3("span", { role: "columnheader", children: /* @__PURE__ */ a3(
            "input",
            {
              type: "checkbox",
              "aria-label": "Select all that are shown",
              onChange: select.all,
              checked: items.length > 0 && items.every((x3) => select.chosen.has(id(x3)))
            }
          ) }),
          columns.map((x3) => /* @__PURE__ */ a3("span", { role: "columnheader", class: `col-${x3.key}${x3.numeric ? " numeric" : ""}`, "aria-sort": sort.key === x3.key ? sort.down ? "descending" : "ascending" : void 0, children: x3.by ? /* @__PURE__ */ a3("button", { type: "button", class: "sort", onClick: () => setSort({ key: x3.key, down: sort.key === x3.key ? !sort.down : !!x3.numeric }), children: [
            x3.title,
            /* @__PURE__ */ a3("span", { "aria-hidden": "true", children: sort.key === x3.key ? sort.down ? " ↓" : " ↑" : "" })
          ] }) : x3.title }, x3.key))
        ] }),
        /* @__PURE__ */ a3("div", { class: "body", role: "rowgroup", style: { height: `${items.length * rowHeight}px` }, children: items.slice(first, last).map((item, offset) => {
          const at = first + offset;
          const name = id(item);
          return /* @__PURE__ */ a3(
            "div",
            {
              id: `${prefix}-${at}`,
              role: "row",
              "aria-rowindex": at + 2,
              "aria-selected": select ? select.chosen.has(name) : void 0,
              class: `row${at === active ? " active" : ""}${name === current ? " current" : ""}`,
              style: { transform: `translateY(${at * rowHeight}px)`, height: `${rowHeight}px`, gridTemplateColumns: template },
              onClick: (event) => {
                if (!event.target.closest("a, input, button")) {
                  setActive(at);
                  open(item);
                }
              },
              children: [
                select && /* @__PURE__ */ a3("span", { role: "gridcell", children: /* @__PURE__ */ a3(
                  "input",
                  {
                    type: "checkbox",
                    tabIndex: -1,
                    "aria-label": `Select ${name}`,
                    checked: select.chosen.has(name),
                    onClick: (event) => {
                      select.toggle(item, event.shiftKey ? items[active] : void 0);
                      setActive(at);
                    }
                  }
                ) }),
                columns.map((x3) => /* @__PURE__ */ a3("span", { role: "gridcell", class: `col-${x3.key}${x3.numeric ? " numeric" : ""}`, children: x3.cell(item) }, x3.key))
              ]
            },
            name
          );
        }) }),
        items.length === 0 && /* @__PURE__ */ a3("p", { class: "empty", children: empty })
      ]
    }
  );
}

// src/overview.tsx
var PHASES = ["Running", "Pending", "Failed", "Succeeded"];
function useRuns(link) {
  const runs = T2(/* @__PURE__ */ new Map());
  const [state, setState] = d2({ loaded: false, refused: [], version: 0 });
  A2(() => follow("/api/runs", {
    link: (lost) => link("server", lost),
    message: (message) => {
      if (message.type === "link") link("cluster", message.lost ? message.message ?? "" : null);
      if (message.type !== "runs") return;
      if (message.whole) {
        runs.current.clear();
        link("cluster", null);
      }
      for (const run of message.set ?? []) runs.current.set(run.uid, run);
      for (const uid of message.gone ?? []) runs.current.delete(uid);
      setState((old) => ({ loaded: true, refused: message.refused ?? [], version: old.version + 1 }));
    }
  }), []);
  return { runs: runs.current, ...state };
}
function Overview({ link, search }) {
  const { runs, loaded, refused, version } = useRuns(link);
  const now = useNow();
  const narrow = useNarrow();
  const [text, setText] = d2("");
  const [phases, setPhases] = d2(/* @__PURE__ */ new Set());
  const [namespace, setNamespace] = d2("");
  const [sort, setSort] = d2({ key: "created", down: true });
  A2(() => {
    document.title = "KubeTask";
  }, []);
  const all = w2(() => [...runs.values()], [version]);
  const namespaces = w2(() => [...new Set(all.map((x3) => x3.namespace))].sort(), [all]);
  const here = w2(() => {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    return all.filter((x3) => (!namespace || x3.namespace === namespace) && words.every((word) => `${x3.namespace}/${x3.name} ${x3.phase} ${x3.reason} ${x3.headline} ${x3.batch} ${x3.target}`.toLowerCase().includes(word)));
  }, [all, text, namespace]);
  const columns = w2(() => {
    const name = { key: "name", title: "Run", width: "minmax(10rem, 2fr)", by: (x3) => x3.name, cell: (x3) => /* @__PURE__ */ a3($, { children: [
      /* @__PURE__ */ a3("a", { href: address(x3), children: x3.name }),
      x3.kind === "Task" && /* @__PURE__ */ a3("span", { class: "tag", children: "Task" })
    ] }) };
    const why = { key: "why", title: "What happens", width: "minmax(10rem, 4fr)", by: (x3) => x3.reason, cell: (x3) => /* @__PURE__ */ a3("span", { title: x3.headline, children: x3.headline || x3.words }) };
    const progress = {
      key: "done",
      title: "Progress",
      width: "minmax(7rem, 1.4fr)",
      by: (x3) => (x3.counts.completed + x3.counts.failed) / (x3.counts.total || 1),
      numeric: true,
      cell: (x3) => /* @__PURE__ */ a3("span", { class: "done", children: [
        /* @__PURE__ */ a3(Progress, { counts: x3.counts }),
        " ",
        number(x3.counts.completed + x3.counts.failed),
        "/",
        number(x3.counts.total)
      ] })
    };
    const state = { key: "phase", title: "State", width: "7.2rem", by: (x3) => PHASES.indexOf(x3.phase), cell: (x3) => /* @__PURE__ */ a3(State, { phase: x3.phase }) };
    const wide = [
      state,
      name,
      ...namespaces.length > 1 ? [{ key: "namespace", title: "Namespace", width: "minmax(6rem, 1fr)", by: (x3) => x3.namespace, cell: (x3) => x3.namespace }] : [],
      progress,
      why,
      { key: "cost", title: "Cost", width: "6rem", numeric: true, by: (x3) => x3.spent || null, cell: (x3) => /* @__PURE__ */ a3("span", { title: x3.inputTokens ? `${tokens(x3.inputTokens)} tokens read, ${tokens(x3.outputTokens)} written` : "", children: x3.spent ? dollars(x3.spent) : "" }) },
      { key: "created", title: "Created", width: "7.500rem", numeric: true, by: (x3) => ms(x3.created), cell: (x3) => ago(x3.created, now) },
      { key: "took", title: "Took", width: "5.500rem", numeric: true, by: (x3) => ms(x3.start) === null ? null : (ms(x3.end) ?? now) - ms(x3.start), cell: (x3) => took(x3.start, x3.end, now) }
    ];
    const card = { key: "card", title: "Run", width: "1fr", cell: (x3) => /* @__PURE__ */ a3($, { children: [
      /* @__PURE__ */ a3("span", { class: "top", children: [
        /* @__PURE__ */ a3(State, { phase: x3.phase }),
        name.cell(x3)
      ] }),
      /* @__PURE__ */ a3("span", { class: "under", children: [
        progress.cell(x3),
        " ",
        why.cell(x3)
      ] })
    ] }) };
    return { wide, shown: narrow ? [card] : wide };
  }, [narrow, namespaces.length > 1, Math.floor(now / 1e3)]);
  const count = (phase) => here.filter((x3) => x3.phase === phase).length;
  const attention = here.filter((x3) => x3.needs).length;
  const chosen = (x3) => phases.size === 0 || phases.has(x3.phase || "Pending") || phases.has("Needs") && x3.needs;
  const items = w2(() => sorted(here.filter(chosen), columns.wide, sort), [here, phases, sort]);
  const spent = items.reduce((sum, x3) => sum + x3.spent, 0);
  return /* @__PURE__ */ a3("main", { class: "overview", children: [
    /* @__PURE__ */ a3("div", { class: "tools", children: [
      /* @__PURE__ */ a3("input", { ref: search, type: "search", placeholder: "Filter: name, reason, repository …  ( / )", "aria-label": "Filter runs", value: text, onInput: (e3) => setText(e3.currentTarget.value) }),
      namespaces.length > 1 && /* @__PURE__ */ a3("select", { "aria-label": "Namespace", value: namespace, onChange: (e3) => setNamespace(e3.currentTarget.value), children: [
        /* @__PURE__ */ a3("option", { value: "", children: "All namespaces" }),
        namespaces.map((x3) => /* @__PURE__ */ a3("option", { children: x3 }, x3))
      ] }),
      /* @__PURE__ */ a3(
        Chips,
        {
          label: "States",
          chosen: phases,
          toggle: (x3) => setPhases(toggled(phases, x3)),
          values: [["Needs", "Needs action", attention], ...PHASES.map((x3) => [x3, /* @__PURE__ */ a3(State, { phase: x3 }), count(x3)])]
        }
      ),
      narrow && /* @__PURE__ */ a3(SortBy, { columns: columns.wide, sort, setSort }),
      /* @__PURE__ */ a3("span", { class: "sum", children: [
        number(items.length),
        " shown",
        spent > 0 && `, ${dollars(spent)}`
      ] })
    ] }),
    refused.map((x3) => /* @__PURE__ */ a3("p", { class: "note", children: [
      "Not shown: ",
      x3
    ] }, x3)),
    loaded ? /* @__PURE__ */ a3(
      Table,
      {
        label: "Runs",
        items,
        columns: columns.shown,
        id: (x3) => x3.uid,
        sort,
        setSort,
        rowHeight: narrow ? 62 : 36,
        open: (x3) => goTo(address(x3)),
        empty: all.length ? "No run matches." : "There are no runs yet. Start one with kubectl kubetask run."
      }
    ) : /* @__PURE__ */ a3("p", { class: "empty", children: "Reading the runs …" })
  ] });
}
function address(x3) {
  return `#/${x3.kind === "Task" ? "task" : "run"}/${encodeURIComponent(x3.namespace)}/${encodeURIComponent(x3.name)}`;
}

// src/charts.tsx
var BUCKETS = 160;
var W = 440;
var H2 = 120;
var LEFT = 44;
var BOTTOM = 16;
var TOP = 6;
function spanOf(created, end, now) {
  const from = ms(created) ?? now;
  return { from, to: Math.max(ms(end) ?? now, from + 1e3) };
}
var BANDS = ["Succeeded", "Failed", "Working", "Preparing", "Waiting"];
function history2(rows, span) {
  const bands = BANDS.map(() => new Float64Array(BUCKETS + 1));
  const at = (time) => Math.min(Math.max(Math.ceil((time - span.from) / (span.to - span.from) * BUCKETS), 0), BUCKETS);
  const add = (band, from, to) => {
    bands[band][from] += 1;
    if (to <= BUCKETS) bands[band][to] -= 1;
  };
  let total = 0, unknown = 0;
  for (const row of rows) {
    total++;
    const [phase, end] = [row[1 /* phase */], ms(row[6 /* end */])];
    const work = ms(row[15 /* work */]) ?? ms(row[5 /* start */]);
    const prepare = ms(row[14 /* prepare */]) ?? work;
    const ended = phase === "Succeeded" || phase === "Failed";
    if (ended && end === null || phase === "Running" && work === null && prepare === null) {
      unknown++;
      continue;
    }
    const stop = ended ? at(end) : BUCKETS + 1;
    const begin = prepare === null ? stop : Math.min(at(prepare), stop);
    const start2 = work === null ? stop : Math.min(Math.max(at(work), begin), stop);
    if (begin > 0) add(4, 0, begin);
    if (start2 > begin) add(3, begin, start2);
    if (stop > start2) add(2, start2, stop);
    if (ended) add(phase === "Succeeded" ? 0 : 1, stop, BUCKETS + 1);
  }
  for (const band of bands) for (let i3 = 1; i3 <= BUCKETS; i3++) band[i3] += band[i3 - 1];
  return { bands, total, unknown };
}
function x2(bucket) {
  return (LEFT + bucket / BUCKETS * (W - LEFT)).toFixed(1);
}
function y3(share) {
  return (TOP + (1 - share) * (H2 - TOP - BOTTOM)).toFixed(1);
}
function Axis({ span, top }) {
  const long = span.to - span.from;
  return /* @__PURE__ */ a3("g", { class: "axis", children: [
    /* @__PURE__ */ a3("line", { x1: LEFT, x2: W, y1: y3(0), y2: y3(0) }),
    /* @__PURE__ */ a3("text", { x: LEFT - 5, y: +y3(1) + 8, "text-anchor": "end", children: top }),
    /* @__PURE__ */ a3("text", { x: LEFT - 5, y: +y3(0), "text-anchor": "end", children: "0" }),
    [0, 0.25, 0.5, 0.75, 1].map((share) => /* @__PURE__ */ a3("text", { x: LEFT + share * (W - LEFT), y: H2 - 3, "text-anchor": share === 0 ? "start" : share === 1 ? "end" : "middle", children: clock(span.from + share * long, long) }, share))
  ] });
}
function TasksOverTime({ rows, span }) {
  const { bands, total, unknown } = history2(rows, span);
  const below = new Float64Array(BUCKETS + 1);
  const areas = bands.map((band, number2) => {
    const lower = Array.from(below, (value, i3) => `${x2(i3)},${y3(total ? value / total : 0)}`).reverse();
    for (let i3 = 0; i3 <= BUCKETS; i3++) below[i3] += band[i3];
    const upper = Array.from(below, (value, i3) => `${x2(i3)},${y3(total ? value / total : 0)}`);
    return /* @__PURE__ */ a3("polygon", { class: `band ${BANDS[number2]}`, points: [...upper, ...lower].join(" ") }, number2);
  });
  return /* @__PURE__ */ a3("figure", { children: [
    /* @__PURE__ */ a3("figcaption", { children: [
      "Tasks over time ",
      /* @__PURE__ */ a3("span", { class: "legend", children: BANDS.map((x3) => /* @__PURE__ */ a3("span", { class: `key ${x3}`, children: x3.toLowerCase() }, x3)) })
    ] }),
    /* @__PURE__ */ a3("svg", { viewBox: `0 0 ${W} ${H2}`, role: "img", "aria-label": "Number of waiting, preparing, working and ended tasks over time", children: [
      areas,
      /* @__PURE__ */ a3(Axis, { span, top: number(total) })
    ] }),
    unknown > 0 && /* @__PURE__ */ a3("p", { class: "note", children: [
      "The status of this large run omits the times of ",
      number(unknown),
      " tasks."
    ] })
  ] });
}
function steps(rows, span, value) {
  const sums = new Array(BUCKETS + 1).fill(0);
  for (const row of rows) {
    const amount = value(row);
    const end = ms(row[6 /* end */]) ?? span.to;
    if (amount) sums[Math.min(Math.max(Math.ceil((end - span.from) / (span.to - span.from) * BUCKETS), 0), BUCKETS)] += amount;
  }
  for (let i3 = 1; i3 <= BUCKETS; i3++) sums[i3] += sums[i3 - 1];
  return sums;
}
function Sum({ title, sums, span, text, limit }) {
  const total = sums[BUCKETS];
  const top = Math.max(total, limit && limit < total * 4 ? limit : 0) || 1;
  const line = sums.map((value, i3) => `${x2(i3)},${y3(value / top)}`);
  return /* @__PURE__ */ a3("figure", { children: [
    /* @__PURE__ */ a3("figcaption", { children: [
      title,
      " ",
      /* @__PURE__ */ a3("strong", { children: text(total) })
    ] }),
    /* @__PURE__ */ a3("svg", { viewBox: `0 0 ${W} ${H2}`, role: "img", "aria-label": `${title}: ${text(total)}`, children: [
      /* @__PURE__ */ a3("polygon", { class: "area", points: [...line, `${x2(BUCKETS)},${y3(0)}`, `${x2(0)},${y3(0)}`].join(" ") }),
      /* @__PURE__ */ a3("polyline", { class: "line", points: line.join(" ") }),
      !!limit && limit <= top && /* @__PURE__ */ a3("g", { class: "limit", children: [
        /* @__PURE__ */ a3("line", { x1: LEFT, x2: W, y1: y3(limit / top), y2: y3(limit / top) }),
        /* @__PURE__ */ a3("text", { x: W, y: +y3(limit / top) + 10, "text-anchor": "end", children: "maxCostUSD" })
      ] }),
      /* @__PURE__ */ a3(Axis, { span, top: text(top) })
    ] })
  ] });
}
function CostOverTime({ rows, span, limit }) {
  const cost = steps(rows, span, (row) => row[7 /* cost */] ?? 0);
  return cost[BUCKETS] ? /* @__PURE__ */ a3(Sum, { title: "Cost", sums: cost, span, text: (value) => dollars(value), limit }) : null;
}
function TokensOverTime({ rows, span }) {
  const sums = steps(rows, span, (row) => row[8 /* inputTokens */] + row[9 /* outputTokens */]);
  return sums[BUCKETS] ? /* @__PURE__ */ a3(Sum, { title: "Tokens", sums, span, text: (value) => tokens(value) || "0" }) : null;
}
function Timeline({ row, span, now }) {
  const share = (time) => Math.min(Math.max((time - span.from) / (span.to - span.from), 0), 1) * 100;
  const [phase, end] = [row[1 /* phase */], ms(row[6 /* end */])];
  const work = ms(row[15 /* work */]) ?? ms(row[5 /* start */]);
  const prepare = ms(row[14 /* prepare */]) ?? work;
  const ended = phase === "Succeeded" || phase === "Failed";
  if (ended && end === null) return /* @__PURE__ */ a3("span", { class: "timeline" });
  const stop = share(end ?? now);
  const begin = prepare === null ? stop : Math.min(share(prepare), stop);
  const start2 = work === null ? stop : Math.max(Math.min(share(work), stop), begin);
  const part = (name, from, to) => to > from && /* @__PURE__ */ a3("span", { class: `part ${name}`, style: { left: `${from}%`, width: `max(${to - from}%, 2px)` } });
  return /* @__PURE__ */ a3("span", { class: "timeline", children: [
    part("Waiting", 0, begin),
    part("Preparing", begin, start2),
    part(ended ? phase : "Working", start2, Math.max(stop, start2 + 0.1))
  ] });
}

// src/confirm.tsx
var TITLES = {
  suspend: ["Suspend this run?", "Suspend"],
  resume: ["Resume this run?", "Resume"],
  cancel: ["Cancel this run?", "Cancel the run"],
  promote: ["Let more tasks start?", "Promote"],
  retry: ["Run tasks again?", "Create the run"]
};
function Confirm({ run, place, action, close, done }) {
  const dialog = T2(null);
  const left = Math.max(run.counts.total - (run.taskLimit ?? 0), 0);
  const [more, setMore] = d2(action.action === "promote" ? Math.min(10, left) || null : null);
  const [plan, setPlan] = d2(null);
  const [problem2, setProblem] = d2("");
  const [busy, setBusy] = d2(false);
  const body = { ...place, uid: run.uid, action: action.action, indexes: action.indexes ?? null, more };
  F2(() => {
    dialog.current.showModal();
  }, []);
  A2(() => {
    let current = true;
    setPlan(null);
    setProblem("");
    request("/api/plan", body).then((x3) => current && setPlan(x3), (error) => current && setProblem(error.message));
    return () => {
      current = false;
    };
  }, [more]);
  const act = async () => {
    setBusy(true);
    try {
      done((await request("/api/act", { ...body, fields: plan.fields })).name);
    } catch (error) {
      setProblem(error.message);
      setPlan(null);
    }
    setBusy(false);
  };
  const [title, yes] = TITLES[action.action];
  return /* @__PURE__ */ a3("dialog", { ref: dialog, class: "confirm", onClose: close, "aria-labelledby": "confirm-title", children: [
    /* @__PURE__ */ a3("h2", { id: "confirm-title", children: place.kind === "Task" ? title.replace("run", "Task") : title }),
    /* @__PURE__ */ a3("p", { class: "what", children: [
      place.namespace,
      "/",
      place.name
    ] }),
    action.action === "promote" && /* @__PURE__ */ a3("fieldset", { children: [
      /* @__PURE__ */ a3("label", { children: [
        /* @__PURE__ */ a3("input", { type: "radio", name: "more", checked: more !== null, onChange: () => setMore(Math.min(10, left) || 1) }),
        " ",
        /* @__PURE__ */ a3(
          "input",
          {
            type: "number",
            min: 1,
            max: left || void 0,
            "aria-label": "Number of tasks",
            value: more ?? "",
            disabled: more === null,
            onInput: (e3) => setMore(Math.max(Number(e3.currentTarget.value) || 1, 1))
          }
        ),
        " more tasks"
      ] }),
      /* @__PURE__ */ a3("label", { children: [
        /* @__PURE__ */ a3("input", { type: "radio", name: "more", checked: more === null, onChange: () => setMore(null) }),
        " all ",
        left ? `${number(left)} that wait` : "tasks"
      ] })
    ] }),
    /* @__PURE__ */ a3("div", { "aria-live": "polite", class: "effects", children: [
      plan && /* @__PURE__ */ a3("ul", { children: plan.effects.map((x3) => /* @__PURE__ */ a3("li", { children: x3 }, x3)) }),
      !plan && !problem2 && /* @__PURE__ */ a3("p", { class: "note", children: "Computing the effects …" }),
      plan?.nothing && /* @__PURE__ */ a3("p", { class: "note", children: "The object already has this value." }),
      (problem2 || plan?.refused) && /* @__PURE__ */ a3("p", { class: "problem", role: "alert", children: [
        "This cannot be done: ",
        problem2 || plan?.refused
      ] })
    ] }),
    plan && /* @__PURE__ */ a3("p", { class: "same", children: [
      "The same in a terminal: ",
      /* @__PURE__ */ a3(Command, { text: plan.command })
    ] }),
    /* @__PURE__ */ a3("div", { class: "buttons", children: [
      /* @__PURE__ */ a3("button", { type: "button", onClick: () => dialog.current.close(), children: "Close" }),
      /* @__PURE__ */ a3("button", { type: "button", class: action.action === "cancel" ? "danger" : "primary", disabled: busy || !plan || plan.nothing || !!plan.refused, onClick: act, children: yes })
    ] })
  ] });
}

// src/task.tsx
var MAX_LINES = 2e4;
function Events({ events }) {
  if (events.length === 0) return /* @__PURE__ */ a3("p", { class: "note", children: "There are no Events. Kubernetes keeps them for an hour." });
  return /* @__PURE__ */ a3("ul", { class: "events", children: events.map((x3, i3) => /* @__PURE__ */ a3("li", { class: x3.warning ? "warning" : "", children: [
    /* @__PURE__ */ a3("time", { title: exact(x3.at), dateTime: x3.at ?? "", children: x3.at ? new Date(x3.at).toLocaleTimeString() : "" }),
    /* @__PURE__ */ a3("span", { children: [
      /* @__PURE__ */ a3("strong", { children: x3.words }),
      x3.count > 1 && ` (${number(x3.count)} times)`,
      x3.note && `: ${x3.note}`,
      " ",
      /* @__PURE__ */ a3("span", { class: "about", children: x3.about })
    ] })
  ] }, i3)) });
}
function Log({ place, index, container }) {
  const box = T2(null);
  const [note, setNote] = d2("Reading …");
  const [lost, setLost] = d2(null);
  A2(() => {
    const element = box.current;
    const chunks = [];
    let [total, fresh, begun] = [0, true, false];
    element.replaceChildren();
    return follow(`/api/log?${query(place, { index, container })}`, {
      link: (why) => {
        setLost(why);
        if (why !== null) fresh = true;
      },
      message: (message) => {
        if (message.type === "wait" || message.type === "end" && (message.message || !begun)) setNote(message.message || "The log is empty.");
        else if (message.type === "end") setNote("");
        if (message.type !== "lines") return;
        if (fresh) {
          element.replaceChildren();
          chunks.length = 0;
          total = 0;
          fresh = false;
        }
        begun = true;
        setLost(null);
        setNote("");
        const atEnd = element.scrollTop + element.clientHeight >= element.scrollHeight - 4;
        const node = document.createElement("span");
        node.textContent = `${message.lines.join("\n")}
`;
        element.append(node);
        chunks.push({ node, lines: message.lines.length });
        total += message.lines.length;
        while (total > MAX_LINES && chunks.length > 1) {
          const old = chunks.shift();
          old.node.remove();
          total -= old.lines;
        }
        if (atEnd) element.scrollTop = element.scrollHeight;
      }
    });
  }, [place.namespace, place.name, index, container]);
  return /* @__PURE__ */ a3($, { children: [
    /* @__PURE__ */ a3("pre", { class: "log", ref: box, tabIndex: 0, role: "log", "aria-label": `Log of the container ${container}` }),
    (lost ?? note) && /* @__PURE__ */ a3("p", { class: "note", children: lost ?? note })
  ] });
}
var HIDDEN = /* @__PURE__ */ new Set(["summary", "pullRequest", "branch", "commits", "usage"]);
function Result({ result }) {
  const rest = Object.entries(result).filter(([key]) => !HIDDEN.has(key));
  return /* @__PURE__ */ a3($, { children: [
    typeof result.summary === "string" && /* @__PURE__ */ a3("p", { class: "summary", children: result.summary }),
    rest.length > 0 && /* @__PURE__ */ a3("dl", { children: rest.map(([key, value]) => /* @__PURE__ */ a3($, { children: [
      /* @__PURE__ */ a3("dt", { children: key }),
      /* @__PURE__ */ a3("dd", { children: typeof value === "string" ? value : JSON.stringify(value) })
    ] })) })
  ] });
}
function TaskPanel({ place, run, row, close }) {
  const now = useNow();
  const index = row[0 /* index */];
  const [detail, setDetail] = d2(null);
  const [problem2, setProblem] = d2("");
  const [container, setContainer] = d2("agent");
  const panel = T2(null);
  const ended = row[1 /* phase */] === "Succeeded" || row[1 /* phase */] === "Failed";
  A2(() => {
    let current = true;
    const load = () => request(`/api/task?${query(place, { index })}`).then(
      (x3) => {
        if (current) {
          setDetail(x3);
          setProblem("");
        }
      },
      (error) => current && setProblem(error.message)
    );
    void load();
    const timer = ended ? 0 : setInterval(load, 4e3);
    return () => {
      current = false;
      clearInterval(timer);
    };
  }, [place.namespace, place.name, run.uid, index, row[1 /* phase */], row[2 /* reason */]]);
  A2(() => {
    if (close) panel.current?.focus();
  }, [index]);
  const usage = row[8 /* inputTokens */] + row[9 /* outputTokens */] > 0;
  return /* @__PURE__ */ a3("aside", { class: "panel", ref: panel, tabIndex: -1, "aria-label": `Task ${index}`, children: [
    /* @__PURE__ */ a3("header", { children: [
      /* @__PURE__ */ a3("h2", { children: [
        place.kind === "Task" ? place.name : `Task ${index}`,
        " ",
        /* @__PURE__ */ a3(State, { phase: row[1 /* phase */] })
      ] }),
      close && /* @__PURE__ */ a3("button", { type: "button", class: "quiet", onClick: close, "aria-label": "Close the task", children: [
        "✕ ",
        /* @__PURE__ */ a3("kbd", { children: "Esc" })
      ] })
    ] }),
    row[3 /* target */] && /* @__PURE__ */ a3("p", { class: "target", children: row[3 /* target */] }),
    (detail?.words || row[2 /* reason */]) && /* @__PURE__ */ a3("p", { class: row[1 /* phase */] === "Failed" ? "problem" : "why", children: [
      /* @__PURE__ */ a3("strong", { children: detail ? capital(detail.words) : row[2 /* reason */] }),
      row[4 /* message */] && `: ${row[4 /* message */]}`,
      detail?.todo && /* @__PURE__ */ a3("span", { class: "todo", children: detail.todo })
    ] }),
    problem2 && /* @__PURE__ */ a3("p", { class: "problem", children: problem2 }),
    /* @__PURE__ */ a3("p", { class: "facts", children: [
      row[5 /* start */] && /* @__PURE__ */ a3("span", { children: [
        ended ? "Took" : "Works for",
        " ",
        /* @__PURE__ */ a3("strong", { children: took(row[5 /* start */], row[6 /* end */], now) })
      ] }),
      row[7 /* cost */] !== null && /* @__PURE__ */ a3("span", { children: [
        "Cost ",
        /* @__PURE__ */ a3("strong", { children: dollars(row[7 /* cost */]) })
      ] }),
      usage && /* @__PURE__ */ a3("span", { children: [
        "Tokens ",
        /* @__PURE__ */ a3("strong", { children: tokens(row[8 /* inputTokens */]) || "0" }),
        " read, ",
        /* @__PURE__ */ a3("strong", { children: tokens(row[9 /* outputTokens */]) || "0" }),
        " written"
      ] }),
      row[13 /* attempts */] > 1 && /* @__PURE__ */ a3("span", { children: [
        "Tries ",
        /* @__PURE__ */ a3("strong", { children: row[13 /* attempts */] })
      ] }),
      detail?.pods[0]?.node && /* @__PURE__ */ a3("span", { children: [
        "Node ",
        /* @__PURE__ */ a3("strong", { children: detail.pods[0].node })
      ] })
    ] }),
    detail && detail.links.length > 0 && /* @__PURE__ */ a3("p", { class: "links", children: detail.links.map((x3) => /* @__PURE__ */ a3("a", { href: x3.url, target: "_blank", rel: "noopener noreferrer", children: x3.text }, x3.url)) }),
    !detail?.links.some((x3) => x3.text.startsWith("Diff")) && row[11 /* branch */] && /* @__PURE__ */ a3("p", { class: "note", children: [
      "Branch ",
      /* @__PURE__ */ a3("code", { children: row[11 /* branch */] })
    ] }),
    detail && /* @__PURE__ */ a3(Result, { result: detail.result }),
    /* @__PURE__ */ a3("section", { children: [
      /* @__PURE__ */ a3("h3", { children: [
        "Log ",
        /* @__PURE__ */ a3("span", { class: "tabs", role: "group", "aria-label": "Container", children: [["agent", "agent"], ["workspace", "preparation"]].map(([name, text]) => /* @__PURE__ */ a3("button", { type: "button", "aria-pressed": container === name, onClick: () => setContainer(name), children: text }, name)) })
      ] }),
      detail || problem2 ? /* @__PURE__ */ a3(Log, { place, index, container }, detail?.pods[0]?.name) : /* @__PURE__ */ a3("p", { class: "note", children: "Reading …" })
    ] }),
    /* @__PURE__ */ a3("section", { children: [
      /* @__PURE__ */ a3("h3", { children: "Events" }),
      detail ? /* @__PURE__ */ a3(Events, { events: detail.events }) : /* @__PURE__ */ a3("p", { class: "note", children: "Reading …" })
    ] }),
    /* @__PURE__ */ a3("section", { children: [
      /* @__PURE__ */ a3("h3", { children: "The same with kubectl" }),
      /* @__PURE__ */ a3("ul", { class: "commands", children: (detail?.commands ?? run.commands).map((x3) => /* @__PURE__ */ a3("li", { children: /* @__PURE__ */ a3(Command, { text: x3 }) }, x3)) })
    ] })
  ] });
}
function capital(text) {
  return text && text[0].toUpperCase() + text.slice(1);
}

// src/run.tsx
function useRun(place, link) {
  const rows = T2(/* @__PURE__ */ new Map());
  const [live, setLive] = d2({ run: null, events: [], gone: null, version: 0 });
  A2(() => {
    rows.current.clear();
    setLive({ run: null, events: [], gone: null, version: 0 });
    return follow(`/api/run?${query(place)}`, {
      link: (lost) => link("server", lost),
      message: (message) => {
        if (message.type === "link") link("cluster", message.lost ? message.message ?? "" : null);
        if (message.type === "gone") setLive((old) => ({ ...old, gone: message.message ?? "" }));
        if (message.type !== "run") return;
        if (message.whole) {
          rows.current.clear();
          link("cluster", null);
        }
        for (const row of message.rows ?? []) rows.current.set(row[0 /* index */], row);
        setLive((old) => ({
          run: message.run ?? old.run,
          events: message.events ?? old.events,
          gone: null,
          version: old.version + (message.rows?.length || message.whole ? 1 : 0)
        }));
      }
    });
  }, [place.kind, place.namespace, place.name]);
  return { ...live, rows: rows.current };
}
function FindingBox({ finding, show }) {
  return /* @__PURE__ */ a3("li", { class: `finding ${finding.level}`, children: [
    /* @__PURE__ */ a3("strong", { children: finding.title }),
    finding.detail && /* @__PURE__ */ a3("span", { class: "said", children: finding.detail }),
    finding.todo && /* @__PURE__ */ a3("span", { class: "todo", children: finding.todo }),
    /* @__PURE__ */ a3("span", { class: "more", children: [
      finding.indexes && /* @__PURE__ */ a3("button", { type: "button", class: "quiet", onClick: () => show(finding), children: "Show these tasks" }),
      finding.command && /* @__PURE__ */ a3(Command, { text: finding.command })
    ] })
  ] });
}
var PHASES2 = ["Failed", "Running", "Started", "Pending", "Succeeded"];
function Tasks({ place, live, narrow, now, open, current, retry, search }) {
  const run = live.run;
  const [text, setText] = d2("");
  const [phases, setPhases] = d2(/* @__PURE__ */ new Set());
  const [reason, setReason] = d2("");
  const [only, setOnly] = d2(null);
  const [pulls, setPulls] = d2(false);
  const [sort, setSort] = d2({ key: "index", down: false });
  const [chosen, setChosen] = d2(/* @__PURE__ */ new Set());
  const all = w2(() => [...live.rows.values()].sort((a4, b2) => a4[0 /* index */] - b2[0 /* index */]), [live.version]);
  const span = spanOf(run.created, run.end, now);
  const texts = w2(() => new Map(all.map((x3) => [x3[0 /* index */], `${x3[0]} ${x3[1]} ${x3[2]} ${x3[3]} ${x3[4]} ${x3[10]} ${x3[11]} ${x3[12]}`.toLowerCase()])), [all]);
  const reasons = w2(() => {
    const found = /* @__PURE__ */ new Map();
    for (const row of all) if (row[2 /* reason */]) found.set(row[2 /* reason */], (found.get(row[2 /* reason */]) ?? 0) + 1);
    return [...found].sort((a4, b2) => b2[1] - a4[1]);
  }, [all]);
  const matching = w2(() => {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    return all.filter((x3) => (!reason || x3[2 /* reason */] === reason) && (!only || only.has(x3[0 /* index */])) && (!pulls || x3[10 /* pull */]) && words.every((word) => texts.get(x3[0 /* index */]).includes(word)));
  }, [all, text, reason, only, pulls]);
  const columns = w2(() => {
    const why = (x3) => /* @__PURE__ */ a3("span", { title: x3[4 /* message */] || x3[12 /* summary */], children: [
      x3[2 /* reason */],
      x3[16 /* waiting */] && x3[16 /* waiting */] !== x3[2 /* reason */] && ` (${x3[16 /* waiting */]})`,
      (x3[4 /* message */] || x3[12 /* summary */]) && /* @__PURE__ */ a3("span", { class: "said", children: x3[4 /* message */] || x3[12 /* summary */] })
    ] });
    const pull = (x3) => x3[10 /* pull */] ? /* @__PURE__ */ a3("a", { href: x3[10 /* pull */], target: "_blank", rel: "noopener noreferrer", children: shortPull(x3[10 /* pull */]) }) : x3[11 /* branch */] && /* @__PURE__ */ a3("span", { title: x3[11 /* branch */], children: x3[11 /* branch */] });
    const timeline = (x3) => /* @__PURE__ */ a3(Timeline, { row: x3, span, now });
    const card = { key: "card", title: "Task", width: "1fr", cell: (x3) => /* @__PURE__ */ a3($, { children: [
      /* @__PURE__ */ a3("span", { class: "top", children: [
        /* @__PURE__ */ a3(State, { phase: x3[1 /* phase */] }),
        /* @__PURE__ */ a3("strong", { children: x3[0 /* index */] }),
        " ",
        x3[3 /* target */]
      ] }),
      /* @__PURE__ */ a3("span", { class: "under", children: [
        why(x3),
        " ",
        pull(x3)
      ] })
    ] }) };
    const wide = [
      { key: "index", title: "Task", width: "4.2rem", numeric: true, by: (x3) => x3[0 /* index */], cell: (x3) => x3[0 /* index */] },
      { key: "phase", title: "State", width: "7.2rem", by: (x3) => PHASES2.indexOf(x3[1 /* phase */]), cell: (x3) => /* @__PURE__ */ a3(State, { phase: x3[1 /* phase */] }) },
      { key: "target", title: "Repository", width: "minmax(8rem, 1.6fr)", by: (x3) => x3[3 /* target */], cell: (x3) => /* @__PURE__ */ a3("span", { title: x3[3 /* target */], children: x3[3 /* target */] }) },
      { key: "reason", title: "Reason", width: "minmax(9rem, 2.4fr)", by: (x3) => x3[2 /* reason */], cell: why },
      { key: "timeline", title: "Timeline", width: "minmax(7rem, 1.6fr)", by: (x3) => ms(x3[5 /* start */]), cell: timeline },
      { key: "took", title: "Took", width: "5rem", numeric: true, by: (x3) => ms(x3[5 /* start */]) === null ? null : (ms(x3[6 /* end */]) ?? now) - ms(x3[5 /* start */]), cell: (x3) => took(x3[5 /* start */], x3[6 /* end */], now) },
      { key: "cost", title: "Cost", width: "5rem", numeric: true, by: (x3) => x3[7 /* cost */], cell: (x3) => /* @__PURE__ */ a3("span", { title: x3[8 /* inputTokens */] ? `${tokens(x3[8 /* inputTokens */])} tokens read, ${tokens(x3[9 /* outputTokens */])} written` : "", children: dollars(x3[7 /* cost */]) }) },
      { key: "pull", title: "Pull request", width: "minmax(6rem, 1fr)", by: (x3) => x3[10 /* pull */] || x3[11 /* branch */], cell: pull }
    ];
    return { wide, shown: narrow ? [card] : wide };
  }, [narrow, Math.floor(now / 1e3), run.end]);
  const items = w2(() => sorted(matching.filter((x3) => phases.size === 0 || phases.has(x3[1 /* phase */])), columns.wide, sort), [matching, phases, sort, narrow]);
  const toggle = (item, through) => {
    const next = toggled(chosen, String(item[0 /* index */]));
    if (through) {
      const [a4, b2] = [items.indexOf(through), items.indexOf(item)].sort((x3, y4) => x3 - y4);
      for (const row of items.slice(a4, b2 + 1)) next.add(String(row[0 /* index */]));
    }
    setChosen(next);
  };
  const chooseAll = () => setChosen(items.every((x3) => chosen.has(String(x3[0 /* index */]))) ? /* @__PURE__ */ new Set() : new Set(items.map((x3) => String(x3[0 /* index */]))));
  const show = (finding) => {
    setOnly(parseIndexes(finding.indexes));
    setPhases(/* @__PURE__ */ new Set());
    setReason("");
    setText("");
  };
  const filtered = !!(text || phases.size || reason || only || pulls);
  const clear = () => {
    setText("");
    setPhases(/* @__PURE__ */ new Set());
    setReason("");
    setOnly(null);
    setPulls(false);
  };
  const retryable = place.kind === "BatchRun";
  return /* @__PURE__ */ a3($, { children: [
    run.findings.length > 0 && /* @__PURE__ */ a3("section", { class: "findings", "aria-label": run.end ? "What went wrong" : "Why it is not finished", children: [
      /* @__PURE__ */ a3("h2", { children: run.end ? "What went wrong" : "Why it is not finished" }),
      /* @__PURE__ */ a3("ul", { children: run.findings.map((x3, i3) => /* @__PURE__ */ a3(FindingBox, { finding: x3, show }, i3)) })
    ] }),
    /* @__PURE__ */ a3("section", { class: "charts", children: [
      /* @__PURE__ */ a3(TasksOverTime, { rows: all, span }),
      /* @__PURE__ */ a3(CostOverTime, { rows: all, span, limit: run.maxCost }),
      /* @__PURE__ */ a3(TokensOverTime, { rows: all, span })
    ] }),
    /* @__PURE__ */ a3("section", { class: "tasks", "aria-label": "Tasks", children: [
      /* @__PURE__ */ a3("div", { class: "tools", children: [
        /* @__PURE__ */ a3("input", { ref: search, type: "search", placeholder: "Filter: repository, reason, message …  ( / )", "aria-label": "Filter tasks", value: text, onInput: (e3) => setText(e3.currentTarget.value) }),
        /* @__PURE__ */ a3("select", { "aria-label": "Reason", value: reason, onChange: (e3) => setReason(e3.currentTarget.value), children: [
          /* @__PURE__ */ a3("option", { value: "", children: "All reasons" }),
          reasons.map(([x3, count]) => /* @__PURE__ */ a3("option", { value: x3, children: [
            x3,
            " (",
            number(count),
            ")"
          ] }, x3))
        ] }),
        /* @__PURE__ */ a3(
          Chips,
          {
            label: "States",
            chosen: phases,
            toggle: (x3) => setPhases(toggled(phases, x3)),
            values: PHASES2.flatMap((x3) => {
              const n2 = matching.filter((row) => row[1 /* phase */] === x3).length;
              return n2 || phases.has(x3) ? [[x3, /* @__PURE__ */ a3(State, { phase: x3 }), n2]] : [];
            })
          }
        ),
        /* @__PURE__ */ a3("button", { type: "button", "aria-pressed": pulls, onClick: () => setPulls(!pulls), children: "With a pull request" }),
        only && /* @__PURE__ */ a3("button", { type: "button", "aria-pressed": true, onClick: () => setOnly(null), children: [
          "Tasks ",
          formatIndexes(only).slice(0, 40),
          " ✕"
        ] }),
        filtered && /* @__PURE__ */ a3("button", { type: "button", class: "quiet", onClick: clear, children: "Clear" }),
        narrow && /* @__PURE__ */ a3(SortBy, { columns: columns.wide, sort, setSort }),
        /* @__PURE__ */ a3("span", { class: "sum", children: [
          number(items.length),
          " of ",
          number(all.length)
        ] }),
        chosen.size > 0 && /* @__PURE__ */ a3("span", { class: "selection", children: [
          /* @__PURE__ */ a3("strong", { children: [
            number(chosen.size),
            " selected"
          ] }),
          retryable && /* @__PURE__ */ a3("button", { type: "button", class: "primary", onClick: () => retry(formatIndexes([...chosen].map(Number))), children: "Retry selection" }),
          /* @__PURE__ */ a3("button", { type: "button", class: "quiet", onClick: () => setChosen(/* @__PURE__ */ new Set()), children: "Clear selection" })
        ] })
      ] }),
      /* @__PURE__ */ a3(
        Table,
        {
          label: "Tasks",
          items,
          columns: columns.shown,
          id: (x3) => String(x3[0 /* index */]),
          sort,
          setSort,
          open,
          rowHeight: narrow ? 58 : 36,
          select: retryable ? { chosen, toggle, all: chooseAll } : void 0,
          current: current === null ? void 0 : String(current),
          empty: all.length ? "No task matches." : "There are no tasks yet."
        }
      )
    ] })
  ] });
}
function shortPull(url) {
  const found = /([^/]+)\/([^/]+)\/(?:-\/)?(?:pull|pulls|merge_requests)\/(\d+)/.exec(url);
  return found ? `${found[2]}#${found[3]}` : new URL(url).hostname;
}
function RunPage({ place, index, link, about, search }) {
  const live = useRun(place, link);
  const now = useNow();
  const narrow = useNarrow();
  const [action, setAction] = d2(null);
  const { run } = live;
  const close = b(() => goTo(address(place)), [place.namespace, place.name]);
  const done = (name) => {
    setAction(null);
    if (name !== place.name) goTo(address({ ...place, name }));
  };
  A2(() => {
    if (run) document.title = `${run.counts.total > 1 ? `${run.counts.completed + run.counts.failed}/${run.counts.total} ` : ""}${run.name} · KubeTask`;
  }, [run]);
  A2(() => {
    const key = (event) => {
      if (event.key === "Escape" && index !== null && !document.querySelector("dialog[open]")) close();
    };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  }, [index, close]);
  if (live.gone !== null) return /* @__PURE__ */ a3("main", { children: /* @__PURE__ */ a3("p", { class: "empty", children: [
    live.gone || `${place.namespace}/${place.name} does not exist. It may have been deleted.`,
    " ",
    /* @__PURE__ */ a3("a", { href: "#/", children: "All runs" })
  ] }) });
  if (!run) return /* @__PURE__ */ a3("main", { children: /* @__PURE__ */ a3("p", { class: "empty", children: [
    "Reading ",
    place.name,
    " …"
  ] }) });
  const ended = run.phase === "Succeeded" || run.phase === "Failed";
  const row = index === null ? null : live.rows.get(index);
  const single = place.kind === "Task" ? live.rows.get(0) : void 0;
  const failed = run.counts.failed > 0;
  return /* @__PURE__ */ a3("main", { class: "run", children: [
    /* @__PURE__ */ a3("header", { class: "title", children: [
      /* @__PURE__ */ a3("h1", { children: [
        /* @__PURE__ */ a3(State, { phase: run.phase }),
        " ",
        run.name,
        " ",
        /* @__PURE__ */ a3("span", { class: "where", children: [
          run.namespace,
          run.batch && ` · ${run.batch}`
        ] })
      ] }),
      !about.readOnly && /* @__PURE__ */ a3("div", { class: "actions", role: "group", "aria-label": "Actions", children: [
        !ended && run.taskLimit !== null && /* @__PURE__ */ a3("button", { type: "button", class: "primary", onClick: () => setAction({ action: "promote" }), children: "Promote …" }),
        !ended && !run.cancelled && (run.suspended ? /* @__PURE__ */ a3("button", { type: "button", class: "primary", onClick: () => setAction({ action: "resume" }), children: "Resume …" }) : /* @__PURE__ */ a3("button", { type: "button", onClick: () => setAction({ action: "suspend" }), children: "Suspend …" })),
        place.kind === "BatchRun" && failed && /* @__PURE__ */ a3("button", { type: "button", onClick: () => setAction({ action: "retry" }), children: "Retry failed …" }),
        !ended && !run.cancelled && /* @__PURE__ */ a3("button", { type: "button", class: "danger", onClick: () => setAction({ action: "cancel" }), children: "Cancel …" })
      ] })
    ] }),
    /* @__PURE__ */ a3("p", { class: "facts", children: [
      place.kind === "BatchRun" && /* @__PURE__ */ a3("span", { class: "big", children: [
        /* @__PURE__ */ a3(Progress, { counts: run.counts }),
        " ",
        /* @__PURE__ */ a3("strong", { children: number(run.counts.completed + run.counts.failed) }),
        " of ",
        number(run.counts.total),
        " ended"
      ] }),
      ["completed", "failed", "running", "pending"].map((key) => run.counts[key] > 0 && place.kind === "BatchRun" && /* @__PURE__ */ a3("span", { children: [
        /* @__PURE__ */ a3("strong", { children: number(run.counts[key]) }),
        " ",
        { completed: "succeeded", failed: "failed", running: "running", pending: "waiting" }[key]
      ] }, key)),
      run.start ? /* @__PURE__ */ a3("span", { title: exact(run.start), children: [
        ended ? "Took" : "Runs for",
        " ",
        /* @__PURE__ */ a3("strong", { children: took(run.start, run.end, now) })
      ] }) : /* @__PURE__ */ a3("span", { title: exact(run.created), children: [
        "Created ",
        /* @__PURE__ */ a3("strong", { children: ago(run.created, now) })
      ] }),
      (run.spent > 0 || run.maxCost !== null) && /* @__PURE__ */ a3("span", { class: "cost", children: [
        "Spent ",
        /* @__PURE__ */ a3("strong", { children: dollars(run.spent) }),
        !ended && run.projected !== null && /* @__PURE__ */ a3($, { children: [
          ", projected ",
          /* @__PURE__ */ a3("strong", { children: dollars(run.projected) })
        ] }),
        run.maxCost !== null && /* @__PURE__ */ a3($, { children: [
          " of at most ",
          /* @__PURE__ */ a3("strong", { children: dollars(run.maxCost) })
        ] })
      ] }),
      run.inputTokens + run.outputTokens > 0 && /* @__PURE__ */ a3("span", { children: [
        "Tokens ",
        /* @__PURE__ */ a3("strong", { children: tokens(run.inputTokens) || "0" }),
        " read, ",
        /* @__PURE__ */ a3("strong", { children: tokens(run.outputTokens) || "0" }),
        " written"
      ] }),
      run.taskLimit !== null && /* @__PURE__ */ a3("span", { children: [
        "Canary: the first ",
        /* @__PURE__ */ a3("strong", { children: number(run.taskLimit) })
      ] })
    ] }),
    run.message && run.reason !== "TasksRunning" && !run.findings.some((x3) => x3.detail.includes(run.message)) && /* @__PURE__ */ a3("p", { class: "message", children: run.message }),
    run.refused.map((x3) => /* @__PURE__ */ a3("p", { class: "note", children: [
      "Not shown: ",
      x3
    ] }, x3)),
    single ? /* @__PURE__ */ a3($, { children: [
      run.findings.length > 0 && /* @__PURE__ */ a3("section", { class: "findings", children: [
        /* @__PURE__ */ a3("h2", { children: run.end ? "What went wrong" : "Why it is not finished" }),
        /* @__PURE__ */ a3("ul", { children: run.findings.map((x3, i3) => /* @__PURE__ */ a3(FindingBox, { finding: { ...x3, indexes: "" }, show: () => void 0 }, i3)) })
      ] }),
      /* @__PURE__ */ a3(TaskPanel, { place, run, row: single })
    ] }) : /* @__PURE__ */ a3(Tasks, { place, live, narrow, now, open: (x3) => goTo(`${address(place)}/task/${x3[0 /* index */]}`), current: index, retry: (indexes) => setAction({ action: "retry", indexes }), search }),
    /* @__PURE__ */ a3("section", { class: "below", children: [
      /* @__PURE__ */ a3("div", { children: [
        /* @__PURE__ */ a3("h2", { children: "Events" }),
        /* @__PURE__ */ a3(Events, { events: live.events })
      ] }),
      /* @__PURE__ */ a3("div", { children: [
        /* @__PURE__ */ a3("h2", { children: "Settings" }),
        /* @__PURE__ */ a3("dl", { class: "settings", children: Object.entries({ ...run.settings, ...run.labels }).map(([key, value]) => /* @__PURE__ */ a3($, { children: [
          /* @__PURE__ */ a3("dt", { children: key }),
          /* @__PURE__ */ a3("dd", { children: String(value) })
        ] })) }),
        /* @__PURE__ */ a3("h2", { children: "The same with kubectl" }),
        /* @__PURE__ */ a3("ul", { class: "commands", children: run.commands.map((x3) => /* @__PURE__ */ a3("li", { children: /* @__PURE__ */ a3(Command, { text: x3 }) }, x3)) })
      ] })
    ] }),
    row && /* @__PURE__ */ a3(TaskPanel, { place, run, row, close }, index),
    action && /* @__PURE__ */ a3(Confirm, { run, place, action, close: () => setAction(null), done })
  ] });
}

// src/main.tsx
function goTo(address2) {
  location.hash = address2;
}
function parse(hash) {
  const found = /^#\/(run|task)\/([^/]+)\/([^/]+)(?:\/task\/(\d+))?$/.exec(hash);
  if (!found) return null;
  try {
    const place = { kind: found[1] === "task" ? "Task" : "BatchRun", namespace: decodeURIComponent(found[2]), name: decodeURIComponent(found[3]) };
    return { place, index: found[4] ? Number(found[4]) : null };
  } catch {
    return null;
  }
}
var THEMES = ["auto", "light", "dark"];
function Theme() {
  const [theme, setTheme] = d2(localStorage.getItem("kubetask-theme") ?? "auto");
  A2(() => {
    document.documentElement.dataset.theme = theme;
    localStorage.setItem("kubetask-theme", theme);
  }, [theme]);
  return /* @__PURE__ */ a3("button", { type: "button", class: "quiet", onClick: () => setTheme(THEMES[(THEMES.indexOf(theme) + 1) % 3]), "aria-label": `Colours: ${theme}`, children: [
    "◑ ",
    theme
  ] });
}
function Page({ about }) {
  const [hash, setHash] = d2(location.hash);
  const [lost, setLost] = d2({ server: null, cluster: null });
  const search = T2(null);
  A2(() => {
    const change = () => setHash(location.hash);
    const key = (event) => {
      if (event.key === "/" && !event.target.closest("input, textarea, select, dialog")) {
        event.preventDefault();
        search.current?.focus();
      }
    };
    addEventListener("hashchange", change);
    addEventListener("keydown", key);
    change();
    return () => {
      removeEventListener("hashchange", change);
      removeEventListener("keydown", key);
    };
  }, []);
  const link = b((side, why2) => setLost((old) => old[side] === why2 ? old : { ...old, [side]: why2 }), []);
  const route = parse(hash);
  const why = lost.server ?? lost.cluster;
  const place = route?.place;
  return /* @__PURE__ */ a3($, { children: [
    /* @__PURE__ */ a3("header", { class: "topbar", children: [
      /* @__PURE__ */ a3("a", { class: "home", href: "#/", children: [
        /* @__PURE__ */ a3("img", { src: "/icon.svg", alt: "", width: 22, height: 22 }),
        " KubeTask"
      ] }),
      place && /* @__PURE__ */ a3("nav", { "aria-label": "Breadcrumb", children: [
        /* @__PURE__ */ a3("a", { href: "#/", children: "All runs" }),
        " ",
        /* @__PURE__ */ a3("span", { "aria-hidden": "true", children: "›" }),
        " ",
        /* @__PURE__ */ a3("span", { children: place.namespace }),
        " ",
        /* @__PURE__ */ a3("span", { "aria-hidden": "true", children: "›" }),
        " ",
        /* @__PURE__ */ a3("a", { href: `#/${place.kind === "Task" ? "task" : "run"}/${encodeURIComponent(place.namespace)}/${encodeURIComponent(place.name)}`, children: place.name })
      ] }),
      /* @__PURE__ */ a3("span", { class: "space" }),
      about.readOnly && /* @__PURE__ */ a3("span", { class: "tag", children: "read-only" }),
      /* @__PURE__ */ a3("span", { class: "cluster", title: "The API server", children: about.cluster }),
      /* @__PURE__ */ a3("span", { class: `live ${why === null ? "on" : "off"}`, role: "status", children: why === null ? "live" : "not live" }),
      /* @__PURE__ */ a3(Theme, {})
    ] }),
    why !== null && /* @__PURE__ */ a3("p", { class: "lost", role: "alert", children: [
      /* @__PURE__ */ a3("strong", { children: lost.server !== null ? "No connection to kubectl kubetask ui." : "No connection to the cluster." }),
      " The data may be outdated. The page retries the connection. ",
      /* @__PURE__ */ a3("span", { class: "said", children: why })
    ] }),
    place ? /* @__PURE__ */ a3(RunPage, { place, index: route.index, link, about, search }, `${place.kind}/${place.namespace}/${place.name}`) : /* @__PURE__ */ a3(Overview, { link, search })
  ] });
}
async function start() {
  const root = document.getElementById("app");
  try {
    await signIn();
    Q(/* @__PURE__ */ a3(Page, { about: await request("/api/about") }), root);
  } catch (error) {
    Q(/* @__PURE__ */ a3("main", { class: "locked", children: [
      /* @__PURE__ */ a3("h1", { children: "KubeTask" }),
      /* @__PURE__ */ a3("p", { class: "problem", role: "alert", children: error.message })
    ] }), root);
  }
}
void start();
addEventListener("hashchange", () => {
  if (/^#(token|code)=/.test(location.hash)) location.reload();
});
export {
  goTo
};
