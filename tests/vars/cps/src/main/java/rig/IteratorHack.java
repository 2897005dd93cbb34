package rig;

import java.io.Serializable;
import java.util.AbstractMap;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Java's iterators cannot be saved. Jenkins puts others in their place while Pipeline code runs (a category of the same
 * name in workflow-cps), so a loop with a step in it works there, and has to work here. In Java: a category must not use
 * itself.
 */
public class IteratorHack {

    public static <E> Iterator<E> iterator(ArrayList<E> list) {
        return new Places<>(list);
    }

    public static <K, V> Iterator<Map.Entry<K, V>> iterator(LinkedHashMap<K, V> map) {
        return new Places<>(entries(map));
    }

    public static <K, V> Set<Map.Entry<K, V>> entrySet(LinkedHashMap<K, V> map) {
        return new LinkedHashSet<>(entries(map));
    }

    public static <K, V> Set<K> keySet(LinkedHashMap<K, V> map) {
        return new LinkedHashSet<>(map.keySet());
    }

    public static <K, V> Collection<V> values(LinkedHashMap<K, V> map) {
        return new ArrayList<>(map.values());
    }

    private static <K, V> List<Map.Entry<K, V>> entries(Map<K, V> map) {
        List<Map.Entry<K, V>> found = new ArrayList<>();
        for (Map.Entry<K, V> entry : map.entrySet()) {
            found.add(new AbstractMap.SimpleImmutableEntry<>(entry));
        }
        return found;
    }

    private static final class Places<E> implements Iterator<E>, Serializable {
        private static final long serialVersionUID = 1L;
        private final List<E> list;
        private int next;

        Places(List<E> list) {
            this.list = list;
        }

        @Override
        public boolean hasNext() {
            return next < list.size();
        }

        @Override
        public E next() {
            return list.get(next++);
        }
    }
}
